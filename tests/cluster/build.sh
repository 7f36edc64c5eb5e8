#!/bin/sh
# Builds the programs of the test cluster from the Go module proxy, once, one after the other.
#
#   sh tests/cluster/build.sh [TOOL…]     TOOL: kubernetes etcd kube-router coredns helm testbox (default: these), kwok hostile
#
# The last line on stdout is the directory that holds them. A tool is built again only when its
# go.mod, go.sum, main.go or the Go version changes. Below
# ${AXIOM_HIVE_CLUSTER_CACHE:-~/.cache/axiom-hive-testcluster}:
#   <tool>-<hash>/   one build
#   bin-<hash>/      links to the builds of one checkout
set -eu
cd "$(dirname "$0")"
export PATH="$PATH:/usr/local/go/bin"
export GOFLAGS=-mod=readonly GOTOOLCHAIN=auto
CACHE=${AXIOM_HIVE_CLUSTER_CACHE:-$HOME/.cache/axiom-hive-testcluster}
TOOLS='kubernetes etcd kube-router coredns helm testbox'
# kwok is for measurements, hostile is part of one test's image: whoever needs them names them.
ALL="$TOOLS kwok hostile"
COMPONENTS='kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl'
VERSION=$(sed -n 's/.*[[:space:]]k8s.io\/kubernetes \(v[0-9.]*\)$/\1/p' tools/kubernetes/go.mod)

say() { printf 'cluster: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# What each tool is built from, and what a cold build took on 2 cores, in seconds.
package() {
    case $1 in
    kubernetes | etcd | testbox | hostile) echo . ;;
    kube-router) echo github.com/cloudnativelabs/kube-router/v2/cmd/kube-router ;;
    coredns) echo github.com/coredns/coredns ;;
    kwok) echo sigs.k8s.io/kwok/cmd/kwok ;;
    helm) echo helm.sh/helm/v4/cmd/helm ;;
    esac
}
estimate_seconds() {
    case $1 in
    kubernetes) echo 375 ;;
    etcd) echo 30 ;;
    kube-router) echo 140 ;;
    coredns) echo 110 ;;
    kwok) echo 65 ;;
    helm) echo 120 ;;
    testbox | hostile) echo 10 ;;
    esac
}

# Kubernetes tells clients its version from what the linker stamps; feature gates follow its own default.
stamp() {
    [ "$1" = kubernetes ] || return 0
    minor=${VERSION#v1.}
    for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        printf -- '-X %s.gitVersion=%s -X %s.gitMajor=1 -X %s.gitMinor=%s ' \
            "$package" "$VERSION" "$package" "$package" "${minor%%.*}"
    done
}

# A name-service module is a library.
as_library() { [ "$1" != hostile ] || echo -buildmode=c-shared -tags netgo; }

hash_of() {
    { cat tools/"$1"/go.* tools/"$1"/*.go; package "$1"; stamp "$1"; (cd tools/"$1" && go version); } 2>/dev/null | sha256sum | cut -c1-16
}

# link FILE NAME: makes no link that is there, since somebody may be using it.
link() { [ "$(readlink "$BIN/$2")" = "$1" ] || ln -sf "$1" "$BIN/$2"; }

build() {
    tool=$1
    target=$CACHE/$tool-$(hash_of "$tool")
    if [ ! -d "$target" ]; then
        say "building $tool (about $(estimate_seconds "$tool") s on 2 cores, once)"
        started=$(date +%s)
        scratch=$(mktemp -d "$CACHE/.build-XXXXXX")
        # shellcheck disable=SC2046 # one word an argument
        (cd tools/"$tool" && CGO_ENABLED=$([ "$tool" = hostile ] && echo 1 || echo 0) GOTMPDIR=$scratch nice go build $(as_library "$tool") -trimpath -ldflags "-s -w $(stamp "$tool")" -o "$scratch/$tool" "$(package "$tool")") ||
            { rm -rf "$scratch"; die "$tool could not be built"; }
        mkdir "$scratch/bin"
        mv "$scratch/$tool" "$scratch/bin/"
        # A rename is whole or not at all, so an interrupted build leaves nothing that looks finished.
        mv "$scratch/bin" "$target"
        rm -rf "$scratch"
        say "$tool built in $(($(date +%s) - started)) s, $(du -m "$target/$tool" | cut -f1) MB"
    fi
    if [ "$tool" = kubernetes ]; then
        for component in $COMPONENTS; do link "$target/kubernetes" "$component"; done
    else
        link "$target/$tool" "$tool"
    fi
    # What runs in pods is also an image.
    case $tool in coredns | testbox)
        archive=$target/$tool.tar
        [ "$archive" -nt pack.sh ] ||
            { sh pack.sh "$target/$tool" "localhost/axiom-hive/$tool:test" "$archive.new" && mv "$archive.new" "$archive"; }
        link "$archive" "$tool.tar"
        ;;
    esac
}

# shellcheck disable=SC2086 # one word a tool
[ $# -gt 0 ] || set -- $TOOLS
command -v go >/dev/null || die 'Go is missing: https://go.dev/dl (1.24 or later, which fetches the version that a module names)'
BIN=$CACHE/bin-$(for tool in $ALL; do hash_of "$tool"; done | sha256sum | cut -c1-16)
mkdir -p "$BIN"
# Two heavy links at once need more memory than a small machine has.
exec 9>"$CACHE/lock"
flock 9
for tool in "$@"; do
    case " $ALL " in *" $tool "*) build "$tool" ;; *) die "unknown tool: $tool (one of $ALL)" ;; esac
done
echo "$BIN"
