#!/bin/sh
# What is too long for `make test`: lint, larger counts, foreign tools, the demo, fuzzing, the cluster.
# Every step runs even when an earlier one failed; the last line counts them.
set -u
cd "$(dirname "$0")/.."
eval "$(sh tests/budget.sh e2e)"

passed=0
failed=0
step() {
    name=$1
    shift
    started=$(date +%s)
    if "$@"; then
        passed=$((passed + 1))
        printf 'e2e: %s passed in %d s\n' "$name" $(($(date +%s) - started))
    else
        failed=$((failed + 1))
        printf 'e2e: %s FAILED after %d s\n' "$name" $(($(date +%s) - started))
    fi
}

# Built beside the steps that leave a core idle, where a cluster can run at all. Its own step waits for
# them, and builds again, in sight, what could not be built here.
if unshare --mount --net --pid --fork true 2>/dev/null; then
    sh tests/cluster/build.sh >/dev/null &
fi
step lint sh tests/lint.sh
step 'larger counts' sh tests/run.sh e2e
step 'foreign tools' sh tests/conformance/run.sh
# The local part: what the part on Kubernetes shows, the step after these shows on the same cluster.
step demo env DEMO=local make --silent demo
step 'demo without a model' env DEMO_MODEL=markov sh tests/demo/demo.sh
step fuzzing sh tests/fuzz.sh
# Last, since most of the others leave a core to what it is built with.
step cluster sh tests/cluster/run.sh ci
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
