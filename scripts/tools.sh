#!/usr/bin/env bash
# Installs programs from the crate registry that tests use, into target/tools: tools.sh NAME VERSION ...
set -euo pipefail
cd "$(dirname "$0")/.."
# They run for seconds: what would make them faster takes minutes to build.
export CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
while [ $# -ge 2 ]; do
    name=$1 version=$2
    shift 2
    stamp=target/tools/.$name-$version
    [ -e "$stamp" ] && continue
    echo "== building $name $version"
    cargo install --quiet --locked --root target/tools "$name" --version "$version"
    touch "$stamp"
done
