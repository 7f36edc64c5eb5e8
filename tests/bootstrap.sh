#!/bin/sh
# Installs what a target needs, or says precisely what to install.
#
#   sh tests/bootstrap.sh NEED…     NEED: rust, python, demo, go, cluster, faults, deny, fuzz
#
# As root on a Debian-like machine missing packages are installed by apt-get; elsewhere the command
# to type is printed and the script fails. Tools of our own go below .cache/tools, nowhere else.
set -eu
cd "$(dirname "$0")/.."
export PATH="$HOME/.cargo/bin:$PWD/.cache/tools/bin:/usr/local/go/bin:$PATH"

RUST_VERSION=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
RUSTUP_VERSION=1.28.2
CARGO_DENY_VERSION=0.20.2
CARGO_FUZZ_VERSION=0.13.2
GO_MINIMUM=1.24

have() { command -v "$1" >/dev/null 2>&1; }
say() { printf 'bootstrap: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

apt_updated=no
# packages PACKAGE…: installs Debian packages, or says which ones are missing.
packages() {
    if ! have apt-get || [ "$(id -u)" != 0 ]; then
        die "please install, then run the same command again: sudo apt-get install -y $*"
    fi
    say "apt-get install $*"
    if [ "$apt_updated" = no ]; then
        apt-get update -qq
        apt_updated=yes
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null ||
        die "apt-get could not install: $*"
}

# version_at_least HAVE WANT: compares dotted numbers.
version_at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -t. -k1,1n -k2,2n -k3,3n | head -n 1)" = "$2" ]
}

# Installs rustup for this user: one binary of a version we know, checked before it runs.
rustup_init() {
    triple=$(uname -m)-unknown-linux-gnu
    case $triple in
    x86_64-*) sum=20a06e644b0d9bd2fbdbfd52d42540bdde820ea7df86e92e533c073da0cdd43c ;;
    aarch64-*) sum=e3853c5a252fca15252d07cb23a1bdd9377a8c6f3efa01531109281ae47f841c ;;
    *) return 1 ;;
    esac
    say "installing rustup $RUSTUP_VERSION for this user"
    curl --proto '=https' --tlsv1.2 -fsS -o .cache/rustup-init \
        "https://static.rust-lang.org/rustup/archive/$RUSTUP_VERSION/$triple/rustup-init" &&
        echo "$sum  .cache/rustup-init" | sha256sum --check --quiet - &&
        chmod +x .cache/rustup-init &&
        .cache/rustup-init -y --default-toolchain none --no-modify-path >&2
}

need_rust() {
    have cc || packages build-essential
    if have rustup; then
        # Components and version come from rust-toolchain.toml.
        rustup toolchain list | grep -q "^$RUST_VERSION" ||
            rustup toolchain install "$RUST_VERSION" --profile minimal -c rustfmt -c clippy ||
            die "rustup could not install Rust $RUST_VERSION; install it by hand: rustup toolchain install $RUST_VERSION -c rustfmt -c clippy"
        return
    fi
    if have cargo; then
        found=$(cargo --version | cut -d' ' -f2)
        version_at_least "$found" "$RUST_VERSION" && return
        die "Rust $found is too old, $RUST_VERSION is needed: install rustup (https://rustup.rs), then run the same command again"
    fi
    if have apt-get && [ "$(id -u)" = 0 ]; then
        [ "$apt_updated" = yes ] || { apt-get update -qq && apt_updated=yes; }
        if apt-cache show rustup >/dev/null 2>&1; then
            packages rustup ca-certificates
            need_rust
            return
        fi
        packages curl ca-certificates
        rustup_init && need_rust && return
    fi
    die "Rust $RUST_VERSION is missing: install rustup (Debian 13 and later: sudo apt-get install rustup; elsewhere: https://rustup.rs), then run the same command again"
}

# The default runtime is a Python package; tests run it.
need_python() {
    have python3 || packages python3
}

need_demo() {
    missing=
    have curl || missing="$missing curl"
    have jq || missing="$missing jq"
    have python3 || missing="$missing python3"
    # Debian ships `venv` apart from Python.
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
    # shellcheck disable=SC2086 # one word a package
    [ -z "$missing" ] || packages $missing
}

need_go() {
    have jq || packages jq
    if have go; then
        found=$(go env GOVERSION | sed 's/^go//')
        version_at_least "$found" "$GO_MINIMUM" && return
        die "Go $found is too old for the foreign tools, $GO_MINIMUM is needed: https://go.dev/dl, then run the same command again"
    fi
    packages golang-go ca-certificates
    found=$(go env GOVERSION | sed 's/^go//')
    # A Go of 1.21 or later fetches the toolchain that a module asks for.
    version_at_least "$found" 1.21 ||
        die "this distribution's Go $found is too old, $GO_MINIMUM is needed: https://go.dev/dl, then run the same command again"
}

# What a node of the test cluster is made of.
need_cluster() {
    missing=
    for pair in containerd:containerd runc:runc nft:nftables iptables:iptables ipset:ipset \
        conntrack:conntrack ip:iproute2 mkfs.ext4:e2fsprogs; do
        have "${pair%%:*}" || missing="$missing ${pair##*:}"
    done
    [ -e /usr/lib/cni/ptp ] || missing="$missing containernetworking-plugins"
    # shellcheck disable=SC2086 # one word a package
    [ -z "$missing" ] || packages $missing
}

# What injects the faults of a disk; without it those tests end early.
need_faults() {
    missing=
    have strace || missing="$missing strace"
    have prlimit || missing="$missing util-linux"
    # shellcheck disable=SC2086 # one word a package
    [ -z "$missing" ] || packages $missing
}

# cargo_tool NAME VERSION: a Cargo subcommand, built once into .cache/tools.
cargo_tool() {
    if [ "$("$1" --version 2>/dev/null | cut -d' ' -f2)" = "$2" ]; then
        return
    fi
    say "cargo install $1 $2 into .cache/tools (a few minutes, once)"
    # Not optimised: it is started a few times, and then builds in half the time.
    cargo install "$1" --version "$2" --locked --debug --quiet --root .cache/tools \
        --target-dir .cache/tools-target || die "cargo could not install $1 $2"
    rm -rf .cache/tools-target
}

mkdir -p .cache/tools/bin
for need in "$@"; do
    case $need in
    rust) need_rust ;;
    python) need_python ;;
    demo) need_demo ;;
    go) need_go ;;
    cluster) need_cluster ;;
    faults) need_faults ;;
    deny) need_rust && cargo_tool cargo-deny "$CARGO_DENY_VERSION" ;;
    fuzz) need_rust && cargo_tool cargo-fuzz "$CARGO_FUZZ_VERSION" ;;
    *) die "unknown need: $need (one of rust, python, demo, go, cluster, faults, deny, fuzz)" ;;
    esac
done
