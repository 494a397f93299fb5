#!/usr/bin/env bash
# Runs three appliances from the image, emulated, until Ctrl-C. They form a fleet by themselves; their disks
# stay in var/image. On a bridge of this machine, so that it can mount them.
set -euo pipefail
cd "$(dirname "$0")/.."
image=${HOLDFAST_IMAGE:-target/image/holdfast.img}
holdfast=${HOLDFAST_BIN:-target/release/holdfast}
names=(ada bob cyd)
net=10.88.0 floating=10.88.0.10
bridge=hfimage
var=var/image

die() { echo "image/run.sh: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || die "run as root: it makes a bridge and taps"
[ -e "$image" ] || die "$image is not there: 'make image' builds it"
[ ! -e "/sys/class/net/$bridge" ] || die "$bridge is there already: does another one run? Else: ip link del $bridge"

# Whether the processor's help is to be had: some machines offer it and fail at once.
accel=tcg
echo quit | qemu-system-x86_64 -accel kvm -machine q35 -cpu max -nodefaults -display none -monitor stdio >/dev/null 2>&1 && accel=kvm

declare -A machines
power_button() { echo system_powerdown >"$var/$1/monitor.in"; }
finish() {
    status=$?
    trap '' INT TERM
    for name in "${!machines[@]}"; do
        kill -0 "${machines[$name]}" 2>/dev/null && timeout 2 bash -c "echo system_powerdown >'$var/$name/monitor.in'" || true
    done
    for name in "${!machines[@]}"; do
        for _ in $(seq 600); do kill -0 "${machines[$name]}" 2>/dev/null || break; sleep 0.2; done
        kill -KILL "${machines[$name]}" 2>/dev/null && echo "image/run.sh: $name did not switch itself off" >&2
    done
    [ -z "${tails:-}" ] || kill "$tails" 2>/dev/null || true
    for at in "${!names[@]}"; do ip link del "$bridge.$at" 2>/dev/null || true; done
    ip link del "$bridge" 2>/dev/null || true
    exit "$status"
}
trap finish EXIT
trap 'echo "== pressing the power buttons"; exit 0' INT TERM

mkdir -p "$var"
umask 077
[ -e "$var/fleet-token" ] || "$holdfast" fleet token >"$var/fleet-token"
[ -e "$var/admin-token" ] || od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$var/admin-token"
ip link add "$bridge" type bridge
ip addr add "$net.1/24" dev "$bridge"
ip link set "$bridge" up

others() { for at in "${!names[@]}"; do [ "$at" = "$1" ] || printf '"%s.%s:2050", ' "$net" "$((11 + at))"; done; }
for at in "${!names[@]}"; do
    name=${names[$at]} dir=$var/${names[$at]}
    mkdir -p "$dir"
    [ -e "$dir/boot.disk" ] || cp --sparse=always "$image" "$dir/boot.disk"
    [ -e "$dir/data.disk" ] || truncate -s 20G "$dir/data.disk"
    [ -e "$dir/firmware.vars" ] || cp /usr/share/OVMF/OVMF_VARS_4M.fd "$dir/firmware.vars"
    cat >"$dir/holdfast.toml" <<TOML
name = "$name"

[network]
address = "$net.$((11 + at))/24"

[time]
# There is no way out of this bridge.
servers = []

[appliance.admin]
token = "$(cat "$var/admin-token")"

[appliance.fleet]
token = "$(cat "$var/fleet-token")"
found = $([ "$at" = 0 ] && echo true || echo false)
join = [$(others "$at")]

[appliance.floating]
interface = "eth0"
addresses = ["$floating/24"]
TOML
    rm -f "$dir/config.disk"
    truncate -s 4M "$dir/config.disk"
    mkfs.vfat -n HOLDFASTCFG "$dir/config.disk" >/dev/null
    mcopy -i "$dir/config.disk" "$dir/holdfast.toml" ::/
    ip tuntap add dev "$bridge.$at" mode tap
    ip link set "$bridge.$at" master "$bridge" up
    rm -f "$dir"/monitor.{in,out}
    mkfifo "$dir/monitor.in" "$dir/monitor.out"
    : >"$dir/console.log"
    drives=()
    for disk in boot data config; do
        drives+=(-drive "if=none,format=raw,id=$disk,file=$dir/$disk.disk" -device "virtio-blk-pci,drive=$disk,serial=$disk")
    done
    # A session of its own: Ctrl-C is for this script.
    setsid qemu-system-x86_64 -accel "$accel" -machine q35 -cpu max -m 1024 -nodefaults -display none \
        -drive if=pflash,format=raw,unit=0,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd \
        -drive "if=pflash,format=raw,unit=1,file=$dir/firmware.vars" "${drives[@]}" \
        -netdev "tap,id=net,ifname=$bridge.$at,script=no,downscript=no" \
        -device "virtio-net-pci,netdev=net,mac=02:aa:99:00:03:0$at" -device virtio-rng-pci \
        -chardev "file,id=serial,path=$dir/console.log" -serial chardev:serial \
        -chardev "pipe,id=monitor,path=$dir/monitor" -mon chardev=monitor \
        <"/dev/null" >"$dir/qemu.log" 2>&1 &
    machines[$name]=$!
    exec {keep}<"$dir/monitor.out"
done

echo "== ${#names[@]} appliances boot, with $accel; what they say is in $var/*/console.log"
tail -qf "$var"/*/console.log &
tails=$!
echo "== Ctrl-C presses their power buttons; 'make image-run' again finds the same files"

# What an operator does, from another machine: make a volume with two copies of each file.
ada() {
    fingerprint=$(grep -aoE 'fingerprint [0-9a-f]{64}' "$var/ada/console.log" | tail -1)
    "$holdfast" --url "https://$net.11:2051" --token-file "$var/admin-token" --fingerprint "${fingerprint#* }" "$@" 2>/dev/null
}
until [ "$(ada fleet status --json | grep -c '"up": true')" = ${#names[@]} ]; do
    for name in "${names[@]}"; do
        kill -0 "${machines[$name]}" 2>/dev/null || die "$name is off: $(cat "$var/$name/qemu.log")"
    done
    sleep 2
done
if ! ada volume list --json | grep -q '"name": "demo"'; then
    ada volume create demo --root-mode 0777 && ada volume policy demo --replicas 2 && ada export set demo '*' || die "no volume could be made"
fi >/dev/null
ada fleet status
echo "== mount -t nfs $floating:/demo /mnt"
wait "${machines[@]}"
