#!/bin/sh
# Builds one target with libFuzzer's instrumentation, which every toolchain has, and runs it: fuzz/run.sh TARGET [SECONDS]
# With SECONDS 0 it is only built. What is found lies in artifacts/TARGET; `fuzz/run.sh TARGET FILE` tries one file.
set -eu
cd "$(dirname "$0")"
target=$1 seconds=${2:-60}
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
# `--target` keeps the instrumentation out of build scripts, which have no libFuzzer.
case $target in
answer | caption | layout_json | exchange) features= ;;
plan) features=planner ;;
*) features=whole ;;
esac
cargo build --release --locked --target "$host" --features "$features" --bin "$target"
binary=target/$host/release/$target
if [ -f "$seconds" ]; then exec "$binary" "$seconds"; fi
if [ "$seconds" = 0 ]; then exit; fi
mkdir -p "corpus/$target" "artifacts/$target"
dictionary=
case $target in caption | plan) dictionary="-dict=dictionaries/caption.txt" ;; esac
# No input takes ten seconds, half a gigabyte in one piece or a gigabyte in all.
exec "$binary" "corpus/$target" "seeds/$target" -max_total_time="$seconds" -timeout=10 -malloc_limit_mb=512 -rss_limit_mb=1024 -max_len=65536 \
    -artifact_prefix="artifacts/$target/" -print_final_stats=1 $dictionary
