#!/bin/sh
# Runs every item of tests/budget.toml that has `soak` and `run` with its full count, one after the
# other, and writes the table in docs/TESTING.md.
#
#   sh tests/soak.sh [NAME…]
#
# Resumable: a finished item stands in .cache/soak-state and is skipped until its count or the code
# that it tests changes. A fresh clone goes on from the table.
set -eu
cd "$(dirname "$0")/.."
export PATH="$HOME/.cargo/bin:$PATH"
STATE=.cache/soak-state
mkdir -p .cache/soak
[ -f $STATE ] || sed -n '/<!-- soak:begin -->/,/<!-- soak:end -->/ {
    s/^| `\([a-z0-9_]*\)` | \([0-9]*\) | \([A-Za-z]*\) | \([0-9]*\) | `\([0-9a-f]*\)` | \([0-9-]*\) |$/\1\t\2\t\3\t\4\t\5\t\6/p
}' docs/TESTING.md >$STATE

# All that an item may depend on, as committed.
all='core runner operator charts tests/cluster tests/e2e'
# shellcheck disable=SC2086
if ! git diff --quiet HEAD -- $all; then
    echo "soak: one of $all has changes that are not committed: the table could not say what was run" >&2
    exit 1
fi

# What an item was run on: the crates that its command tests.
code_of() {
    case "$1" in
    *-p\ axiom_hive_core*) set -- core ;;
    *-p\ axiom_hive_runner* | *tests/fuzz.sh*) set -- core runner ;;
    *-p\ axiom_hive_operator*) set -- core runner operator charts ;;
    # shellcheck disable=SC2086
    *) set -- $all ;;
    esac
    for folder in "$@"; do git rev-parse "HEAD:$folder"; done | sha256sum | cut -c1-12
}

# NAME COUNT COMMAND, tab-separated, one line an item.
items() {
    awk '
        function flush() { if (name != "" && soak != "" && run != "") print name "\t" soak "\t" run }
        /^\[.*\]$/ { flush(); name = substr($0, 2, length($0) - 2); soak = run = ""; next }
        $1 == "soak" && $2 == "=" { soak = $3; gsub("_", "", soak) }
        $1 == "run" && $2 == "=" { run = $0; sub(/^run = "/, "", run); sub(/"$/, "", run) }
        END { flush() }
    ' tests/budget.toml
}

table() {
    printf '| item | count | result | seconds | code | date |\n|---|---:|---|---:|---|---|\n'
    awk -F '\t' '{ latest[$1] = $0 } END { for (name in latest) print latest[name] }' $STATE | sort |
        awk -F '\t' '{ printf "| `%s` | %s | %s | %s | `%s` | %s |\n", $1, $2, $3, $4, $5, $6 }'
}

write_table() {
    table >.cache/soak/table.md
    awk '
        /<!-- soak:begin -->/ { print; while ((getline line < ".cache/soak/table.md") > 0) print line; skip = 1; next }
        /<!-- soak:end -->/ { skip = 0 }
        !skip
    ' docs/TESTING.md >.cache/soak/TESTING.md
    cp .cache/soak/TESTING.md docs/TESTING.md
}

items >.cache/soak/items
failed=0
while IFS="$(printf '\t')" read -r name count run <&3; do
    [ $# -eq 0 ] || printf '%s\n' "$@" | grep -qx "$name" || continue
    code=$(code_of "$run")
    if awk -F '\t' -v name="$name" -v count="$count" -v code="$code" \
        '$1 == name && $2 == count && $3 == "passed" && $5 == code { found = 1 } END { exit !found }' $STATE; then
        printf 'soak: %s (%s) is done already\n' "$name" "$count"
        continue
    fi
    printf 'soak: %s (%s): %s\n' "$name" "$count" "$run"
    started=$(date +%s)
    result=passed
    # Only this item gets its full count; what else the command runs keeps its default.
    variable=AXIOM_HIVE_BUDGET_$(printf '%s' "$name" | tr '[:lower:]' '[:upper:]')
    if ! env "$variable=$count" sh -c "$run" >".cache/soak/$name.log" 2>&1; then
        result=FAILED
        failed=$((failed + 1))
        tail -n 20 ".cache/soak/$name.log" >&2
    fi
    printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$name" "$count" "$result" $(($(date +%s) - started)) \
        "$code" "$(date -u +%Y-%m-%d)" >>$STATE
    write_table
done 3<.cache/soak/items
write_table
[ "$failed" -eq 0 ]
