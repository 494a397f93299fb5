#!/usr/bin/env bash
# Builds the appliance image: build.sh [OUT] makes OUT/holdfast.efi, one file that is the whole operating
# system, and OUT/holdfast.img, a disk to boot it from. OUT is target/image unless said.
#
# The same Debian packages and the same binaries give the same bytes. HOLDFAST_BIN and INIT_BIN name the
# binaries; HOLDFAST_DEBS a folder in which downloaded packages are kept (target/image-debs).
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-target/image}
holdfast=${HOLDFAST_BIN:-target/release/holdfast}
init=${INIT_BIN:-target/release/holdfast-init}
debs=${HOLDFAST_DEBS:-target/image-debs}
# All times in the image; a number that looks like none.
export SOURCE_DATE_EPOCH=1700000000 TZ=UTC LC_ALL=C
umask 022

die() { echo "image/build.sh: $*" >&2; exit 1; }
for binary in "$holdfast" "$init"; do [ -x "$binary" ] || die "$binary is not there: 'make image' builds it"; done
mkdir -p "$out" "$debs"
work=$(realpath "$(mktemp -d "$out/build.XXXXXX")")
trap 'rm -rf "$work"' EXIT
tree=$work/tree root=$work/root esp=$work/esp
mkdir -p "$tree" "$root" "$esp"

# --- Debian's part

# The packages, where the names of today's kernel are looked up. Their checksums are the package system's to check.
packages() {
    sed 's/#.*//; /^\s*$/d' image/packages | while read -r name; do
        case $name in
        linux-image-amd64) apt-cache depends "$name" | sed -n 's/^  Depends: \(linux-image-[0-9].*\)/\1/p' ;;
        *) echo "$name" ;;
        esac
    done
}
names=$(packages)
[ "$(wc -w <<<"$names")" = "$(sed 's/#.*//; /^\s*$/d' image/packages | wc -l)" ] ||
    die "the package system does not know all of image/packages: run 'apt-get update'"
# In a folder that has none of them: it names only what is missing.
files=$(cd "$tree" && apt-get download --print-uris -o APT::Sandbox::User=root $names | awk '{ print $2 }')
missing=()
for file in $files; do [ -e "$debs/$file" ] || missing+=("$file"); done
if [ ${#missing[@]} -gt 0 ]; then
    echo "== downloading ${#missing[@]} Debian packages"
    wanted=()
    for file in "${missing[@]}"; do wanted+=("${file%%_*}"); done
    (cd "$debs" && apt-get download -qq -o APT::Sandbox::User=root "${wanted[@]}")
fi
for file in $files; do dpkg-deb -x "$debs/$file" "$tree"; done
release=$(basename "$tree"/lib/modules/*)

# Where a file of a package lies; before and after /usr was merged.
find_in_tree() {
    for dir in "$@"; do
        for prefix in usr/ ""; do
            [ -e "$tree/$prefix$dir" ] && { echo "$tree/$prefix$dir"; return; }
        done
    done
    die "no package of image/packages has $*"
}

# --- the file system that lives in memory

mkdir -p "$root"/{dev,proc,sys,run,tmp,root,data,esp,etc,usr/{bin,sbin,lib/{x86_64-linux-gnu,holdfast}}}
for dir in bin sbin lib; do ln -s "usr/$dir" "$root/$dir"; done
mkdir -p "$root/usr/lib64"
ln -s usr/lib64 "$root/lib64"
install -m 755 "$init" "$root/init"
install -m 755 "$holdfast" "$root/usr/bin/holdfast"
strip "$root/init" "$root/usr/bin/holdfast"
ln -s /init "$root/usr/lib/holdfast/dhcp-event"
for program in bin/busybox bin/btrfs; do install -m 755 "$(find_in_tree "$program")" "$root/usr/bin/"; done
install -m 755 "$(find_in_tree bin/dropbearkey)" "$root/usr/bin/"
for program in mkfs.btrfs blkid chronyd dropbear; do
    install -m 755 "$(find_in_tree "sbin/$program")" "$root/usr/sbin/"
done
install -m 755 "$(find_in_tree bin/kmod)" "$root/usr/bin/kmod"
ln -s ../bin/kmod "$root/usr/sbin/modprobe"
ln -s busybox "$root/usr/bin/sh"

# Each program's libraries, and theirs. The loader is where every program's head says.
libraries=lib/x86_64-linux-gnu
install -m 755 "$(find_in_tree $libraries/ld-linux-x86-64.so.2)" "$root/usr/lib64/"
wanted() { objdump -p "$@" 2>/dev/null | sed -n 's/^  NEEDED *//p' | sort -u; }
todo=$(wanted "$root"/init "$root"/usr/bin/* "$root"/usr/sbin/*)
while [ -n "$todo" ]; do
    fresh=()
    for library in $todo; do
        [ "$library" = ld-linux-x86-64.so.2 ] && continue
        [ -e "$root/usr/$libraries/$library" ] && continue
        install -m 755 "$(realpath "$(find_in_tree "$libraries/$library")")" "$root/usr/$libraries/$library"
        fresh+=("$root/usr/$libraries/$library")
    done
    todo=
    [ ${#fresh[@]} -eq 0 ] || todo=$(wanted "${fresh[@]}")
done

# Kernel modules with all that they need.
depmod -b "$tree" "$release"
modules=$(sed 's/#.*//; /^---$/d; /^\s*$/d' image/modules)
for module in $modules; do
    modprobe -d "$tree" -S "$release" --show-depends "$module" >>"$work/modules" ||
        die "image/modules: the kernel $release has no module $module"
done
awk '$1 == "insmod" { print $2 }' "$work/modules" | sort -u | while read -r file; do
    to=$root/usr/lib/modules/${file#"$tree"/lib/modules/}
    install -D -m 644 "$file" "$to"
    # They stay in memory: as small as they can be.
    zstd --quiet -T1 -19 --rm "$to"
done
for list in modules.builtin modules.builtin.modinfo modules.order; do
    cp "$tree/lib/modules/$release/$list" "$root/usr/lib/modules/$release/"
done
depmod -b "$root" "$release"
sed -n '/^---$/q; s/#.*//; /^\s*$/d; p' image/modules >"$root/usr/lib/holdfast/modules"

echo 'root:x:0:0:root:/root:/usr/bin/sh' >"$root/etc/passwd"
echo 'root:x:0:' >"$root/etc/group"
echo '/usr/bin/sh' >"$root/etc/shells"
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
# What it is made of: for the question "does that fault concern us".
printf '%s\n' $files | sort >"$root/usr/lib/holdfast/packages"
version=$("$holdfast" --version | awk '{ print $2 }')
echo "$version" >"$root/usr/lib/holdfast/version"

find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
(cd "$root" && find . -mindepth 1 | sort | cpio --quiet --reproducible -R 0:0 -H newc -o) |
    zstd --quiet -T1 -19 >"$work/initramfs"

# --- one file: stub, kernel, initramfs (the Unified Kernel Image specification)

# No version: then systemd-boot orders the slots by their names.
printf 'ID=holdfast\nPRETTY_NAME="Holdfast"\n' >"$work/os-release"
# The serial port is the last: what the appliance says goes there and to the screen. `init`, which is not looked at
# while there is /init, keeps the kernel from looking for a shell where there is none.
printf 'console=tty0 console=ttyS0,115200 loglevel=4 panic=10 oops=panic transparent_hugepage=madvise init=/init' >"$work/cmdline"
stub=$(find_in_tree lib/systemd/boot/efi/linuxx64.efi.stub)
at=$(objdump -h "$stub" | awk '$2 ~ /^\./ { print "0x" $4, "0x" $3 }' |
    { max=0; while read -r start size; do end=$((start + size)); [ $end -gt $max ] && max=$end; done; echo $max; })
sections=()
for section in osrel:os-release cmdline:cmdline linux:linux initrd:initramfs; do
    [ "$section" = linux:linux ] && cp "$tree/boot/vmlinuz-$release" "$work/linux"
    at=$(((at + 0xfffff) & ~0xfffff))
    file=$work/${section#*:}
    sections+=(--add-section ".${section%:*}=$file" --change-section-vma ".${section%:*}=$at")
    at=$((at + $(stat -c %s "$file")))
done
objcopy -p "${sections[@]}" "$stub" "$work/holdfast.efi"
mv "$work/holdfast.efi" "$out/holdfast.efi"

# --- a disk: an EFI partition with systemd-boot and the first slot

mkdir -p "$esp"/EFI/{BOOT,Linux} "$esp/loader"
cp "$(find_in_tree lib/systemd/boot/efi/systemd-bootx64.efi)" "$esp/EFI/BOOT/BOOTX64.EFI"
cp "$out/holdfast.efi" "$esp/EFI/Linux/holdfast-00000001.efi"
printf 'timeout 0\neditor no\n' >"$esp/loader/loader.conf"
find "$esp" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
esp_mib=256
truncate -s ${esp_mib}M "$work/esp.img"
mkfs.vfat --invariant -F 32 -n HOLDFASTESP "$work/esp.img" >/dev/null
mcopy -Q -s -m -i "$work/esp.img" "$esp"/* ::/
truncate -s $((esp_mib + 2))M "$work/holdfast.img"
sfdisk --quiet "$work/holdfast.img" <<TABLE
label: gpt
label-id: 5D9D4A4C-3C4B-4E0B-9C0A-1F0F3B9D0C01
start=2048, size=$((esp_mib * 2048)), type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=5D9D4A4C-3C4B-4E0B-9C0A-1F0F3B9D0C02, name="HOLDFASTESP"
TABLE
dd if="$work/esp.img" of="$work/holdfast.img" bs=1M seek=1 conv=notrunc,sparse status=none
mv "$work/holdfast.img" "$out/holdfast.img"

mib() { echo "$((($(stat -c %s "$1") + 1048575) >> 20)) MiB"; }
echo "== $out/holdfast.efi: $(mib "$out/holdfast.efi"), holdfast $version, Linux $release"
echo "== $out/holdfast.img: a disk of $(mib "$out/holdfast.img") that boots it"
