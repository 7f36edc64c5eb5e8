#!/bin/sh
# Runs every fuzz target for AXIOM_HIVE_BUDGET_FUZZ_SECONDS seconds (tests/budget.toml), or those named.
#
#   sh tests/fuzz.sh [TARGET…]
#
# The pinned stable compiler does: the workspace forbids `unsafe`, so the address sanitizer, which
# needs a nightly one, has nothing to look for. The corpus grows in .cache/fuzz; a crash is kept in
# fuzz/artifacts and fails the run.
set -eu
cd "$(dirname "$0")/.."
sh tests/bootstrap.sh fuzz
export PATH="$HOME/.cargo/bin:$PWD/.cache/tools/bin:$PATH"
seconds=${AXIOM_HIVE_BUDGET_FUZZ_SECONDS:?set by tests/budget.sh}
LONGEST_INPUT_BYTES=20000

[ $# -gt 0 ] || set -- $(sed -n 's/^name = "\(.*\)"$/\1/p' fuzz/Cargo.toml | tail -n +2)
cargo fuzz build --sanitizer none
for target in "$@"; do
    corpus=.cache/fuzz/$target
    mkdir -p "$corpus"
    cargo fuzz run --sanitizer none "$target" "$corpus" -- \
        -max_total_time="$seconds" -max_len="$LONGEST_INPUT_BYTES" -timeout=20 -print_final_stats=1 \
        >".cache/fuzz/$target.log" 2>&1 || { tail -n 40 ".cache/fuzz/$target.log"; exit 1; }
    printf 'fuzz %-12s %s s, %s inputs\n' "$target" "$seconds" \
        "$(sed -n 's/^stat::number_of_executed_units: *//p' ".cache/fuzz/$target.log")"
done
