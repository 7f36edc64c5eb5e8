#!/bin/sh
# Builds the project's images from their Containerfiles with buildah, without a registry.
#
#   sh tests/cluster/images.sh [--quick] [IMAGE…]     IMAGE: operator runner ledger python-runtime hostile-runtime (default: all)
#
# --quick: the same binaries with less optimisation, for tests that judge what they do and not how fast.
# One line an image on stdout: NAME DIGEST BYTES ARCHIVE. The archives go below .cache/images. The two
# public base images cannot be pulled on a machine without a registry, so Debian root file systems,
# assembled once from packages, stand in for them under their public names: the Containerfiles stay those
# that users build. The stand-ins are for tests alone and are never pushed anywhere.
set -eu
cd "$(dirname "$0")/../.."
CACHE=${AXIOM_HIVE_CLUSTER_CACHE:-$HOME/.cache/axiom-hive-testcluster}
OUT=$PWD/.cache/images
RUST_VERSION=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
# Without user namespaces or a second OCI runtime, RUN steps are chroots.
export BUILDAH_ISOLATION=chroot

say() { printf 'images: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
# A store of our own: this machine's images stay as they are.
oci() { buildah --root "$CACHE/images" --runroot "$CACHE/images-run" --storage-driver overlay "$@"; }

need() {
    missing=
    for program in buildah mmdebstrap; do command -v $program >/dev/null || missing="$missing $program"; done
    [ -z "$missing" ] && return
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || die "please install:$missing"
    # shellcheck disable=SC2086 # one word a package
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

# base NAME PACKAGES: a Debian root file system under a public image's name.
base() {
    stand_in=$1 packages=$2
    archive=$CACHE/base-$(printf '%s' "$packages" | sha256sum | cut -c1-16).tar
    if [ ! -f "$archive" ]; then
        say "assembling a stand-in for $stand_in from Debian packages (about 40 s, once)"
        mkdir -p "$CACHE"
        mmdebstrap --quiet --variant=minbase --include="$packages" \
            --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
            --dpkgopt='path-exclude=/usr/share/locale/*' bookworm "${archive%.tar}-new.tar"
        mv "${archive%.tar}-new.tar" "$archive"
    fi
    ! oci inspect --type image "$stand_in" >/dev/null 2>&1 || return 0
    container=$(oci from scratch)
    oci add --quiet "$container" "$archive" / >/dev/null
    oci config --env PATH=/usr/local/rust/bin:/usr/local/bin:/usr/bin:/bin "$container"
    oci commit --quiet --timestamp 0 "$container" "$stand_in" >/dev/null
    oci rm "$container" >/dev/null
}

# image NAME CONTEXT [ARGUMENT…]: builds, packs, prints.
image() {
    name=$1 context=$2
    shift 2
    started=$(date +%s)
    oci bud --quiet --pull-never --timestamp 0 --layers -t "localhost/axiom-hive/$name:dev" "$@" "$context" >"$OUT/$name.log" 2>&1 ||
        { tail -n 30 "$OUT/$name.log" >&2; die "$name could not be built"; }
    rm -f "$OUT/$name.tar"
    oci push --quiet --digestfile "$OUT/$name.digest" "localhost/axiom-hive/$name:dev" "oci-archive:$OUT/$name.tar:localhost/axiom-hive/$name:dev"
    say "$name in $(($(date +%s) - started)) s"
    printf '%s %s %s %s\n' "localhost/axiom-hive/$name:dev" "$(cat "$OUT/$name.digest")" "$(wc -c <"$OUT/$name.tar")" "$OUT/$name.tar"
}

# The toolchain of this machine and its certificate authorities are lent to the build.
rust_image() {
    base docker.io/library/rust:1.95-bookworm ca-certificates,gcc,libc6-dev
    toolchain=$(rustup run "$RUST_VERSION" rustc --print sysroot)
    # shellcheck disable=SC2086 # one word an argument
    image "$1" . --target "$1" $quick -v "$toolchain:/usr/local/rust:ro" -v /etc/ssl/certs:/etc/ssl/certs:ro
}

need
mkdir -p "$OUT"
quick=
if [ "${1:-}" = --quick ]; then
    quick='--build-arg CARGO_PROFILE_RELEASE_LTO=off --build-arg CARGO_PROFILE_RELEASE_OPT_LEVEL=1'
    shift
fi
[ $# -gt 0 ] || set -- operator runner ledger python-runtime hostile-runtime
for name in "$@"; do
    case $name in
    operator | runner | ledger) rust_image "$name" ;;
    python-runtime)
        base docker.io/library/python:3.13-slim-bookworm python3-minimal,libpython3-stdlib
        image python-runtime runner/python
        ;;
    # For tests alone: the runtime's image of somebody who wants out.
    hostile-runtime)
        context=$(mktemp -d)
        cp tests/cluster/tools/hostile/Containerfile tests/cluster/tools/hostile/nsswitch.conf "$context"
        cp "$(sh tests/cluster/build.sh hostile | tail -n 1)/hostile" "$context/libnss_hostile.so.2"
        image hostile-runtime "$context"
        rm -r "$context"
        ;;
    *) die "unknown image: $name" ;;
    esac
done
