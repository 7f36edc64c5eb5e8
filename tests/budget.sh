#!/bin/sh
# Prints `export AXIOM_HIVE_BUDGET_<NAME>=<count>` for one column of tests/budget.toml.
#
#   eval "$(sh tests/budget.sh test)"     COLUMN: test, e2e or soak
#
# A name without the column keeps its default, which stands in the test itself.
set -eu
cd "$(dirname "$0")"
column=${1:?COLUMN: test, e2e or soak}
awk -v column="$column" '
    /^\[.*\]$/ { name = toupper(substr($0, 2, length($0) - 2)); next }
    $1 == column && $2 == "=" {
        gsub("_", "", $3)
        if ($3 !~ /^[0-9]+$/) { print FILENAME ":" FNR ": " column " must be a whole number" > "/dev/stderr"; exit 1 }
        print "export AXIOM_HIVE_BUDGET_" name "=" $3
    }
' budget.toml
