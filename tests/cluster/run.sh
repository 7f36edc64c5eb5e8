#!/bin/sh
# A real Kubernetes on this machine: builds it where it is not built, starts it, and tries it.
#
#   sh tests/cluster/run.sh         up, then its own tests; it stays up
#   sh tests/cluster/run.sh ci      the same, the project's images and charts on it, and the tests that break it; then down
#   sh tests/cluster/run.sh soak TEST…    images and charts on a cluster of its own, and these tests of tests/e2e; then down
#   sh tests/cluster/run.sh down
set -eu
cd "$(dirname "$0")/../.."
export PATH="$HOME/.cargo/bin:$PATH"
# The features and packages of `make test`, so that nothing is compiled twice.
build="--workspace --locked --features axiom_hive_runner/crash-points"
# shellcheck disable=SC2086 # one word an argument
cluster() { cargo build --quiet $build --bin cluster && target/debug/cluster "$@"; }

stage() {
    stage=$1
    shift
    started=$(date +%s)
    "$@" || { echo "cluster: $stage FAILED after $(($(date +%s) - started)) s" >&2; exit 1; }
    printf 'cluster: %s in %d s\n' "$stage" $(($(date +%s) - started))
}

# shellcheck disable=SC2086
try() {
    names=
    for name in "$@"; do names="$names --test $name"; done
    AXIOM_HIVE_CLUSTER=full cargo test $build $names -- --nocapture --test-threads 2
}

anew() { cluster down && cluster up --size full; }

if [ "${1:-}" = down ]; then
    cluster down
    exit
fi
# Nodes are processes in namespaces of their own, which not every machine lets even root make.
if ! unshare --mount --net --pid --fork true 2>/dev/null; then
    echo 'cluster: SKIPPED: needs root on Linux, with mount, network and PID namespaces' >&2
    exit
fi
stage 'tools built' sh tests/cluster/build.sh
stage 'started' cluster up --size full
if [ "${1:-}" = soak ]; then
    shift
    stage 'images built' sh tests/cluster/images.sh --quick
    stage "$* tried" try "$@"
    cluster down
    exit
fi
stage 'pods, names, volumes, policies, a chart, webhooks and tokens tried' try api full ledger_tokens
# On API servers of their own: under the guard other tests could not write our objects.
# shellcheck disable=SC2086
operator() { AXIOM_HIVE_CLUSTER=api cargo test $build --test api_server --test reconcile --test cli_task; }
stage 'webhook, guard, charts, samples, reconciliation and the command line tried' operator
if [ "${1:-}" = ci ]; then
    stage 'images built' sh tests/cluster/images.sh --quick
    # What users have on their own machine.
    # shellcheck disable=SC2086
    stage 'command line built' cargo build --quiet $build --bin axiom_hive_cli
    # The release as users install it: charts, images, tasks, receipts.
    stage 'tasks run to verified receipts' try tasks
    # Under its walls and its guard: whoever wants out of a runner pod, or into one.
    stage 'containment, impersonation and first packets tried' try containment impersonation first_packets
    # Alone: nodes are closed and cut off meanwhile.
    stage 'a drained node and a partition tried' try nodes
    # Its guard would bind the tests that follow.
    stage 'started anew' anew
    stage 'faults tried' try faults
    # Ends the cluster, and compares the machine before and after.
    stage 'ended without a trace' try lifecycle
fi
