#!/usr/bin/env bash
# Runs the lab: one appliance with configs/lab.toml on a BTRFS of its own, until Ctrl-C. Its files stay.
set -euo pipefail
cd "$(dirname "$0")/.."
config=configs/lab.toml
binary=${HOLDFAST_BIN:-target/release/holdfast}
root=$(sed -n 's/^root = "\(.*\)"/\1/p' "$config")
image=var/lab.btrfs
image_size=20G

[ "$(id -u)" = 0 ] || { echo "lab.sh: run as root: it mounts a file system and listens on port 111" >&2; exit 1; }

mounted=
appliance=
finish() {
    status=$?
    if [ -n "$appliance" ] && kill -0 "$appliance" 2>/dev/null; then
        kill -TERM "$appliance"
        wait "$appliance" || status=$?
    fi
    [ -z "$mounted" ] || umount "$root" || status=1
    exit "$status"
}
trap finish EXIT
# Being told to stop is how it ends well; what went wrong then is for `finish` to say.
trap 'exit 0' INT TERM

mkdir -p "$root"
if [ "$(stat -f -c %T "$root")" != btrfs ]; then
    if [ ! -e "$image" ]; then
        echo "== making a BTRFS of $image_size in $image (sparse)"
        truncate -s "$image_size" "$image.new"
        mkfs.btrfs -q "$image.new" >/dev/null
        mv "$image.new" "$image"
    fi
    echo "== mounting $image at $root"
    mount -o loop,noatime "$image" "$root"
    mounted=1
fi

# The appliance says when it is ready; its log goes to standard error as it comes. In a session of its
# own, so that Ctrl-C reaches only this script, which then stops it cleanly.
coproc out { exec setsid "$binary" serve --config "$config"; }
appliance=$out_PID
if ! read -r ready <&"${out[0]}"; then
    wait "$appliance" || status=$?
    appliance=
    exit "${status:-1}"
fi
echo "== $ready"
addresses=$(ip -o addr show scope global up | awk '{ split($4, a, "/"); print a[1] }')
for address in 127.0.0.1 $addresses; do
    case $address in *:*) address="[$address]" ;; esac
    echo "mount -t nfs $address:/demo /mnt"
done
echo "== Ctrl-C stops it; 'make run' again finds the same files"
wait "$appliance"
