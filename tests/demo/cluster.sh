#!/bin/sh
# The main job on Kubernetes: images, both charts, a constitution, the tasks of cluster/tasks.jsonl; then every
# receipt and the whole ledger verified outside of the cluster, with axiom_hive_cli.
#
#   sh tests/demo/cluster.sh                                       kind where Docker and kind are, else a cluster
#                                                                  of this machine's own (root on Linux)
#   sh tests/demo/cluster.sh --context NAME --registry HOST/PATH   a cluster of yours; images are pushed there
#   … --announce                                                   says what it would do, and does nothing
#
# A second run reuses cluster, images, release and ledger. Everything else lies below .cache/demo-cluster.
set -eu
cd "$(dirname "$0")/../.."
export PATH="$HOME/.cargo/bin:$PATH"
HERE=tests/demo/cluster
WORK=$PWD/.cache/demo-cluster
RELEASE=axiom-hive
NAMESPACE=axiom-hive-demo
KIND=axiom-hive-demo
IMAGES="operator runner ledger python-runtime"
TASK_SECONDS=300
MAX_VERIFIED=2000
LEDGER_HOST=axiom-hive-ledger.$RELEASE.svc
context=
registry=
forward=
announces_only=no

say() { printf 'demo: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
kube() { kubectl ${context:+--context "$context"} "$@"; }
chart() { helm upgrade --install ${context:+--kube-context "$context"} -n $RELEASE --create-namespace "$@" >/dev/null; }
task() { "$CLI" task "$@" -n $NAMESPACE ${context:+--context "$context"}; }
trap '[ -z "$forward" ] || kill "$forward" 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM

. $HERE/place.sh
. $HERE/follow.sh
. $HERE/prove.sh

while [ $# -gt 0 ]; do
    case $1 in
    --context) context=${2:?--context NAME} ;;
    --registry) registry=${2:?--registry HOST/PATH} ;;
    --announce)
        announces_only=yes
        shift
        continue
        ;;
    *) die "unknown option $1: must be --context NAME, --registry HOST/PATH or --announce" ;;
    esac
    shift 2
done

place=$(choose_place)
if [ "$place" = none ]; then
    say 'no cluster: needs --context and --registry, or Docker with kind, or root on Linux with namespaces. The local part is all.'
    exit 0
fi
announce "$place"
[ $announces_only = no ] || exit 0
mkdir -p "$WORK/receipts"
say 'building axiom_hive_cli'
cargo build --locked --quiet -p axiom_hive_runner --bin axiom_hive_cli
CLI=${CARGO_TARGET_DIR:-target}/debug/axiom_hive_cli
"prepare_$place"

say 'installing both charts'
chart axiom-hive-crds charts/axiom-hive-crds
chart axiom-hive charts/axiom-hive --wait --timeout 300s --set images.registry="$(repository_of operator)" \
    --set images.operator.digest="$(digest_of operator)" --set images.runner.digest="$(digest_of runner)" \
    --set images.ledger.digest="$(digest_of ledger)"

PYTHON_IMAGE=$(repository_of python-runtime)/python-runtime@$(digest_of python-runtime)
say 'applying constitutions and a model'
apply_objects
write_runtimes

say "submitting $(wc -l <$HERE/tasks.jsonl) tasks"
kube delete supervisedtasks --all -n $NAMESPACE --wait >/dev/null
submit_all
evict_marked
follow
report
prove_receipts
prove_ledger
say "done. $(where_it_is)"
[ "$failed" -eq 0 ]
