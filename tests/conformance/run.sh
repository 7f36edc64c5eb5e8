#!/bin/sh
# Foreign tools judge what we write; none of our code takes part in the judging.
#
#   fsck     of transparency-dev/tessera: rebuilds the exported tree, checks every tile and the root
#   reader   this folder's few lines over filippo.io/torchwood: a receipt as it is (C2SP tlog-proof)
#   spicy    of filippo.io/torchwood: the same proof in the older form that the tool still reads
#   vectors  of the same folder: golang.org/x/mod and torchwood read the test vectors; so does vectors.py
#   aics-tlog of PyPI: single records in the exported tree, and that the sealed tree continues the one before
#   litewitness of torchwood and aics-witness of PyPI: as witnesses of a ledger service
#   Chromium runs the page of the ledger service (its WebCrypto hashes and checks signatures)
#
#   sh tests/conformance/run.sh
#
# The ledger has more than 256 records, so that full tiles, partial tiles and a second level occur.
set -eu
cd "$(dirname "$0")/../.."
sh tests/bootstrap.sh rust go python demo
export PATH="$HOME/.cargo/bin:/usr/local/go/bin:$PATH"
TESSERA=github.com/transparency-dev/tessera/cmd/fsck@v1.0.4
SPICY=filippo.io/torchwood/cmd/spicy@v0.9.0
LITEWITNESS=filippo.io/torchwood/cmd/litewitness@v0.9.0
TOOLS=$PWD/.cache/tools/bin
WORK=$PWD/.cache/conformance
# Two records a task (intent and outcome), and one for the constitution.
TASKS=150
RECORDS=$((2 * TASKS + 1))

passed=0
pass() {
    passed=$((passed + 1))
    printf 'conformance: ok: %s\n' "$1"
}
die() {
    printf 'conformance: FAILED: %s\n' "$1" >&2
    exit 1
}

mkdir -p "$TOOLS"
[ -x "$TOOLS/fsck" ] || GOBIN=$TOOLS go install "$TESSERA"
[ -x "$TOOLS/spicy" ] || GOBIN=$TOOLS go install "$SPICY"
[ -x "$TOOLS/litewitness" ] || GOBIN=$TOOLS go install "$LITEWITNESS"
AICS=$PWD/.cache/tools/aics
if ! cmp -s tests/conformance/requirements.txt "$AICS/requirements.txt"; then
    rm -rf "$AICS"
    python3 -m venv "$AICS"
    "$AICS/bin/pip" install --quiet --disable-pip-version-check --no-deps --ignore-requires-python \
        --requirement tests/conformance/requirements.txt
    cp tests/conformance/requirements.txt "$AICS/"
fi
(cd tests/conformance/reader && go build -o "$TOOLS/reader" . && go build -o "$TOOLS/vectors" ./vectors)
cargo build --locked --quiet -p axiom_hive_runner --bin axiom_hive_cli
CLI=${CARGO_TARGET_DIR:-target}/debug/axiom_hive_cli

rm -rf "$WORK"
mkdir -p "$WORK"
export XDG_STATE_HOME="$WORK/state"
task=0
while [ $task -lt $TASKS ]; do
    task=$((task + 1))
    printf 'conformance task %d' $task |
        "$CLI" run --output json --runtime echo --ledger "$WORK/ledger" --task-uid "conformance-$task" \
            --receipt "$WORK/receipt-$task" >"$WORK/result.json" 2>>"$WORK/run.log" ||
        die "task $task exited with $?: see $WORK/run.log"
done
"$CLI" ledger key "$WORK/ledger" >"$WORK/vkey"
vkey=$(cat "$WORK/vkey")
origin=${vkey%%+*}
"$CLI" ledger export "$WORK/ledger" "$WORK/tree"

size=$(sed -n 2p "$WORK/tree/checkpoint")
[ "$size" = $RECORDS ] || die "the exported checkpoint says $size records, $RECORDS were written"
[ -f "$WORK/tree/tile/0/000" ] && [ -f "$WORK/tree/tile/0/001.p/$((RECORDS - 256))" ] ||
    die "the export lacks the full or the partial tile of level 0"

# The tool exits 0 whatever it finds; its last word counts.
fsck() {
    "$TOOLS/fsck" --storage_url="file://$WORK/tree/" --public_key="$WORK/vkey" --origin="$origin" \
        --N=2 --ui=false >"$WORK/fsck.log" 2>&1
    grep -q "Successfully fsck'd log with size $RECORDS " "$WORK/fsck.log"
}
fsck || { cat "$WORK/fsck.log" >&2; die "fsck refuses the exported tree"; }
pass "Tessera's fsck accepts an export of $RECORDS records"

(cd "$WORK/tree" && sha256sum --check --strict --quiet SHA256SUMS) || die "sha256sum refuses the archive"
"$CLI" verify --archive "$WORK/tree" --key "$WORK/vkey" >>"$WORK/run.log" || die "we refuse our own archive"
pass "sha256sum accepts the archive's checksums"

# A judge that accepts everything would prove nothing: one flipped bit must be refused.
cp "$WORK/tree/tile/entries/000" "$WORK/bundle"
chmod u+w "$WORK/tree/tile/entries/000"
printf '\377' | dd of="$WORK/tree/tile/entries/000" bs=1 seek=100 conv=notrunc 2>/dev/null
! fsck || die "fsck accepts a damaged export"
cp "$WORK/bundle" "$WORK/tree/tile/entries/000"
pass "Tessera's fsck refuses a damaged export"

# Record 0 is the constitution; each task has its intent and then, at twice its number, the record of its receipt.
aics() {
    command=$1
    shift
    "$AICS/bin/aics-tlog" "$command" --vkey-file "$WORK/vkey" --origin "$origin" --tiles "$WORK/tree" "$@" >"$WORK/aics.log" 2>&1
}
for task in 1 100 $TASKS; do
    sed -n '2s/^extra //p' "$WORK/receipt-$task" | base64 -d >"$WORK/leaf"
    aics verify-inclusion --index $((2 * task)) --leaf "$WORK/leaf" || { cat "$WORK/aics.log" >&2; die "aics-tlog refuses the record of task $task"; }
    ! aics verify-inclusion --index $((2 * task - 1)) --leaf "$WORK/leaf" || die "aics-tlog accepts a record in another's place"
done
cp "$WORK/tree/checkpoint" "$WORK/before"
pass "aics-tlog finds records in the exported tree, each at its index and at no other"

# A sealed ledger is its own static tree.
"$CLI" ledger seal "$WORK/ledger" >>"$WORK/run.log"
rm -rf "$WORK/tree"
mkdir "$WORK/tree"
cp -r "$WORK/ledger/checkpoint" "$WORK/ledger/tile" "$WORK/tree/"
RECORDS=$((RECORDS + 1))
fsck || { cat "$WORK/fsck.log" >&2; die "fsck refuses what a sealed ledger publishes"; }
python3 tests/conformance/verify.py ledger "$WORK/ledger" "$vkey" || die "verify.py refuses a sealed ledger"
pass "Tessera's fsck and verify.py accept a sealed ledger as it lies"
aics verify-consistency --old-checkpoint "$WORK/before" || { cat "$WORK/aics.log" >&2; die "aics-tlog says that the seal changed history"; }
pass "aics-tlog finds that the sealed tree continues the one before"

checked=0
for task in 1 2 64 127 128 $TASKS; do
    receipt=$WORK/receipt-$task
    record=$WORK/record-$task
    sed -n '2s/^extra //p' "$receipt" | base64 -d >"$record"
    "$TOOLS/reader" "$vkey" "$receipt" "$record" || die "torchwood refuses the receipt of task $task"
    # spicy 0.9.0 reads the form without the first two lines, beside the record.
    sed 1,2d "$receipt" >"$record.spicy"
    "$TOOLS/spicy" -verify "$vkey" "$record" 2>"$WORK/spicy.log" ||
        { cat "$WORK/spicy.log" >&2; die "spicy refuses the receipt of task $task"; }
    printf ' ' >>"$record"
    ! "$TOOLS/reader" "$vkey" "$receipt" "$record" 2>/dev/null || die "torchwood accepts a changed record"
    checked=$((checked + 1))
done
pass "torchwood's reader and spicy accept $checked receipts and refuse them for changed records"

"$TOOLS/vectors" tests/conformance/vectors >/dev/null || die "the Go readers disagree with the test vectors"
python3 -B tests/conformance/vectors.py >"$WORK/vectors.log" || { cat "$WORK/vectors.log" >&2; die "vectors.py disagrees with the test vectors"; }
# Readers that accept everything would prove nothing: with every verdict turned round they must protest.
mkdir "$WORK/turned"
for file in tests/conformance/vectors/*.json; do
    sed 's/"result":"valid"/"result":"turned"/; s/"result":"invalid"/"result":"valid"/; s/"result":"turned"/"result":"invalid"/' \
        "$file" >"$WORK/turned/${file##*/}"
done
! "$TOOLS/vectors" "$WORK/turned" >/dev/null 2>&1 || die "the Go readers accept vectors with their verdicts turned round"
! python3 -B tests/conformance/vectors.py "$WORK/turned" >/dev/null || die "vectors.py accepts them too"
pass "golang.org/x/mod, torchwood and vectors.py agree with the test vectors"

# Their witnesses and our service on loopback: cosignatures, and a volume that was rolled back.
if ! command -v ssh-agent >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends openssh-client >/dev/null 2>&1 || true
fi
if command -v ssh-agent >/dev/null; then
    AXIOM_HIVE_LITEWITNESS=$TOOLS/litewitness AXIOM_HIVE_AICS_WITNESS=$AICS/bin/aics-witness \
        cargo test --workspace --locked --features axiom_hive_runner/crash-points --test ledger_service foreign >"$WORK/witnesses.log" 2>&1 ||
        { tail -n 40 "$WORK/witnesses.log" >&2; die "foreign witnesses: see above"; }
    pass "litewitness and aics-witness cosign together, and each finds a volume that was rolled back"
else
    echo 'conformance: SKIPPED: foreign witnesses: please install: openssh-client'
fi

# A browser judges what the ledger service shows: its page, with the verifier on WebCrypto.
if ! command -v chromium >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null 2>&1 || true
fi
if command -v chromium >/dev/null; then
    AXIOM_HIVE_BROWSER=chromium cargo test --workspace --locked --features axiom_hive_runner/crash-points --test ledger_service page >"$WORK/page.log" 2>&1 ||
        { tail -n 40 "$WORK/page.log" >&2; die "the page in Chromium: see above"; }
    pass "Chromium verifies a ledger on its page, and finds every lie that it is told"
else
    echo 'conformance: SKIPPED: the page in Chromium: please install: chromium'
fi
printf 'conformance: %d passed, 0 failed\n' "$passed"
