#!/bin/sh
# Runs every fuzz target for AXIOM_HIVE_BUDGET_FUZZ_SECONDS seconds (tests/budget.toml), or those named.
#
#   sh tests/fuzz.sh [TARGET…]
#
# The pinned stable compiler does: the workspace's one `unsafe` call takes no pointer, so the address
# sanitizer, which needs a nightly one, has nothing to look for. The corpus grows in .cache/fuzz; a crash is kept in
# fuzz/artifacts and fails the run.
set -eu
cd "$(dirname "$0")/.."
sh tests/bootstrap.sh fuzz
export PATH="$HOME/.cargo/bin:$PWD/.cache/tools/bin:$PATH"
seconds=${AXIOM_HIVE_BUDGET_FUZZ_SECONDS:?set by tests/budget.sh}
LONGEST_INPUT_BYTES=20000

# seeds TARGET: directories of real inputs to begin with.
seeds() {
    case $1 in
    constitution) echo config core/tests/constitution ;;
    note | checkpoint | tile) echo core/tests/data/tessera ;;
    esac
}

# shellcheck disable=SC2046 # one word a target
[ $# -gt 0 ] || set -- $(sed -n 's/^name = "\(.*\)"$/\1/p' fuzz/Cargo.toml | tail -n +2)
cargo fuzz build --sanitizer none >&2
# fuzz TARGET: one target for its time.
fuzz() {
    corpus=.cache/fuzz/$1
    mkdir -p "$corpus"
    # shellcheck disable=SC2046 # one word a directory
    cargo fuzz run --sanitizer none "$1" "$corpus" $(seeds "$1") -- \
        -max_total_time="$seconds" -max_len="$LONGEST_INPUT_BYTES" -timeout=20 -print_final_stats=1 \
        >".cache/fuzz/$1.log" 2>&1 || { tail -n 40 ".cache/fuzz/$1.log"; return 1; }
    printf 'fuzz %-12s %s s, %s inputs\n' "$1" "$seconds" \
        "$(sed -n 's/^stat::number_of_executed_units: *//p' ".cache/fuzz/$1.log")"
}

# Each takes one core: two at a time.
failed=0
while [ $# -gt 0 ]; do
    fuzz "$1" &
    if [ $# -gt 1 ]; then
        fuzz "$2" || failed=1
        shift
    fi
    wait $! || failed=1
    shift
done
exit $failed
