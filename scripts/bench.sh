#!/usr/bin/env bash
# Measures the appliance beside its peers and its store beside others, and prints the tables: bench.sh [--quick] [--json]
# Only some of it: bench.sh peers|stores|mesh|fleet|outages|wire [OPTION ...]
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$(id -u)" != 0 ]; then
    echo "bench.sh: needs root: it makes namespaces, loop devices and a bridge of its own" >&2
    exit 1
fi
cargo build --quiet --release -p holdfast -p benches
built=${CARGO_TARGET_DIR:-$PWD/target}/release
export HOLDFAST_BIN=${HOLDFAST_BIN:-$built/holdfast}

case ${1:-} in
peers | stores | mesh | fleet | outages) exec "$built/$1" "${@:2}" ;;
wire) exec cargo bench --quiet -p benches --bench wire -- "${@:2}" ;;
esac
"$built/peers" "$@"
echo
"$built/stores" "$@"
echo
"$built/fleet" "$@"
echo
"$built/outages" "$@"
