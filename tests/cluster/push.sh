#!/bin/sh
# Puts the images that the tests run into a registry that the nodes of a cluster of yours pull from:
#
#   sh tests/cluster/images.sh
#   sh tests/cluster/push.sh HOST/PATH
#   AXIOM_HIVE_CLUSTER=context:NAME AXIOM_HIVE_REGISTRY=HOST/PATH cargo test …
#
# Digests stay as they were built. A registry on localhost is spoken to without TLS, as containers' tools do.
set -eu
cd "$(dirname "$0")/../.."
registry=${1:?HOST/PATH of a registry}
if ! command -v skopeo >/dev/null; then
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { echo 'push: please install: skopeo' >&2; exit 1; }
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends skopeo >/dev/null
fi
case $registry in localhost:* | 127.0.0.1:*) tls=false ;; *) tls=true ;; esac
programs=$(sh tests/cluster/build.sh testbox | tail -n 1)
for archive in "$programs/testbox.tar" .cache/images/operator.tar .cache/images/runner.tar .cache/images/ledger.tar .cache/images/python-runtime.tar .cache/images/hostile-runtime.tar; do
    name=$(basename "$archive" .tar)
    skopeo copy --quiet --preserve-digests --dest-tls-verify=$tls "oci-archive:$archive" "docker://$registry/$name:test"
    echo "$registry/$name:test"
done
