#!/usr/bin/env bash
# Installs the Debian packages that a purpose needs and that are missing: install-packages.sh run|test|image|bench ...
set -euo pipefail

run=(libbtrfsutil-dev libclang-dev clang protobuf-compiler btrfs-progs pkg-config cmake gcc make kmod iproute2)
test=(minisign dnsmasq-base openssh-client e2fsprogs g++ user-mode-linux nfs-common rpcbind attr acl bc git python3 rsync util-linux procps strace)
image=(apt binutils cpio dosfstools fdisk kmod mtools ovmf qemu-system-x86 zstd)
bench=(nfs-ganesha nfs-ganesha-vfs fio linux-perf)

wanted=()
for purpose in "$@"; do
    case $purpose in
    run) wanted+=("${run[@]}") ;;
    test) wanted+=("${test[@]}") ;;
    image) wanted+=("${image[@]}") ;;
    bench) wanted+=("${bench[@]}") ;;
    *) echo "install-packages.sh: no purpose '$purpose': say run, test, image or bench" >&2; exit 2 ;;
    esac
done

missing=()
for package in "${wanted[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" != 0 ]; then
    echo "install-packages.sh: these Debian packages are missing: ${missing[*]}. Run as root to install them" >&2
    exit 1
fi
echo "== installing ${#missing[@]} Debian packages: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# A package that starts a daemon must not start it here: tests bring their own.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d.holdfast
chmod +x /usr/sbin/policy-rc.d.holdfast
own_policy=
[ -e /usr/sbin/policy-rc.d ] || { mv /usr/sbin/policy-rc.d.holdfast /usr/sbin/policy-rc.d; own_policy=1; }
trap 'rm -f /usr/sbin/policy-rc.d.holdfast; [ -z "$own_policy" ] || rm -f /usr/sbin/policy-rc.d' EXIT
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
