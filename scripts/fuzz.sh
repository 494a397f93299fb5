#!/usr/bin/env bash
# Runs every fuzz target of the wire codec, coverage-guided, for a while: fuzz.sh SECONDS
# What it finds is kept in gateway/nfs-wire/fuzz/artifacts; a finding ends the run with an error.
set -euo pipefail
cd "$(dirname "$0")/../gateway/nfs-wire/fuzz"
seconds=${1:?say for how many seconds each target is to run}
fuzz=$PWD/../../../target/tools/bin/cargo-fuzz
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The instrumentation is an unstable option of any compiler; a sanitizer would need another one.
export RUSTC_BOOTSTRAP=1
echo "== building the fuzz targets"
"$fuzz" build --sanitizer none >"$log" 2>&1 || { cat "$log"; exit 1; }
for target in $("$fuzz" list); do
    # A record of the largest call is mostly payload, which teaches a fuzzer nothing.
    "$fuzz" run --sanitizer none "$target" -- -max_total_time="$seconds" -max_len=4096 \
        -rss_limit_mb=1024 -print_final_stats=1 >"$log" 2>&1 || { tail -60 "$log"; exit 1; }
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    printf '%-16s %12s inputs in %s s\n' "$target" "${runs:?$target ran nothing}" "$seconds"
done
