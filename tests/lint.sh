#!/bin/sh
# Formatting, clippy, and what cargo-deny holds: licences, bans, sources; advisories where their
# database can be had.
set -eu
cd "$(dirname "$0")/.."
export PATH="$HOME/.cargo/bin:$PWD/.cache/tools/bin:$PATH"
cargo fmt --all --check
cargo fmt --manifest-path fuzz/Cargo.toml --check
cargo clippy --workspace --all-targets --locked -- -D warnings
# The tests that kill at named points exist only with this.
cargo clippy -p axiom_hive_runner --all-targets --locked --features crash-points -- -D warnings
sh tests/bootstrap.sh deny
cargo deny --locked check --hide-inclusion-graph bans licenses sources
if ! cargo deny --locked check --hide-inclusion-graph advisories 2>.cache/advisories.log; then
    if grep -q 'failed to fetch advisory database' .cache/advisories.log; then
        echo 'lint: advisories skipped: the advisory database cannot be fetched from here'
    else
        cat .cache/advisories.log >&2
        exit 1
    fi
fi
