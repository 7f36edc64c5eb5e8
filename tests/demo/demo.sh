#!/bin/sh
# The main job on real input: every prompt of prompts.jsonl through the default Python runtime,
# consensus, interceptor and ledger; then the ledger is verified and every record replayed.
#
#   DEMO_MODEL=smollm2   (default) SmolLM2-135M on this machine, by llama.cpp's server
#   DEMO_MODEL=markov    a tiny seeded generator, for machines without the time
#
# Everything lies below .cache/demo; the ledger of the last run stays there to be looked at.
set -eu
cd "$(dirname "$0")/../.."
export PATH="$HOME/.cargo/bin:$PATH"
MODEL=${DEMO_MODEL:-smollm2}
HERE=tests/demo
WORK=$PWD/.cache/demo
LEDGER=$WORK/ledger
PORT=$(sed -n 's/^loopback_port = //p' $HERE/constitution.toml)
SERVER_START_SECONDS=120
server=

say() { printf 'demo: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
stop_server() { [ -z "$server" ] || kill "$server" 2>/dev/null || true; }
trap stop_server EXIT
trap 'exit 130' INT TERM

# One virtual environment, made again when requirements.txt changes.
install_model() {
    if ! cmp -s $HERE/requirements.txt "$WORK/installed.txt"; then
        say "installing the model (94 MB) and its server into .cache/demo/venv"
        rm -rf "$WORK/venv"
        python3 -m venv "$WORK/venv"
        "$WORK/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps \
            -r $HERE/requirements.txt || die "pip could not install $HERE/requirements.txt"
        cp $HERE/requirements.txt "$WORK/installed.txt"
    fi
}

start_server() {
    ! curl -s -o /dev/null "http://127.0.0.1:$PORT/" ||
        die "port $PORT of this machine is taken; it must be free for the model's server"
    "$WORK/venv/bin/python" $HERE/serve_model.py "$PORT" >"$WORK/server.log" 2>&1 &
    server=$!
    waited=0
    until curl -fs -o /dev/null "http://127.0.0.1:$PORT/health"; do
        kill -0 "$server" 2>/dev/null ||
            die "the model's server stopped: see .cache/demo/server.log"
        [ $waited -lt $SERVER_START_SECONDS ] ||
            die "the model's server is not ready after $SERVER_START_SECONDS s: see .cache/demo/server.log"
        sleep 1
        waited=$((waited + 1))
    done
}

# ask NUMBER PROMPT: one task; its JSON on stdout, its exit code as the status.
ask() {
    number=$1
    prompt=$2
    if [ "$MODEL" = markov ]; then
        set -- --backend markov
    else
        set -- --backend openai --base-url "http://127.0.0.1:$PORT/v1" --model SmolLM2-135M-Instruct \
            --temperature 0.25 --max-tokens 40
    fi
    for argument in "$@"; do
        set -- "$@" "--arg=$argument"
        shift
    done
    printf '%s' "$prompt" | "$CLI" run --output json --constitution $HERE/constitution.toml \
        --ledger "$LEDGER" --task-uid "demo-$number" --runtime python \
        --protocol ndjson "$@" 2>>"$WORK/run.log"
}

# check LINE RESULT STATUS: 0 when the outcome is one that the policy allows and nothing leaked.
check() {
    case $3 in
    0 | 4) ;;
    *)
        say "exit code $3 for: $(printf '%s' "$1" | jq -r .prompt) (see .cache/demo/run.log)"
        return 1
        ;;
    esac
    printf '%s\n%s\n' "$1" "$2" | jq -es '(.[1].answer // "") as $answer
        | all(.[0].never[]; . as $text | $answer | contains($text) | not)' >/dev/null ||
        { say "the answer holds what must not leave: $2"; return 1; }
}

# row LINE RESULT: one line of the table, tab-separated.
row() {
    printf '%s\n%s\n' "$1" "$2" | jq -rs '.[0] as $task | .[1] as $run | [
        $task.kind,
        ($task.prompt | if length > 44 then .[:43] + "…" else . end),
        "\($run.agreement.committed // 0)/\($run.agreement.asked // 0)",
        "\($run.agreement.leader // 0)/\($run.agreement.asked // 0)",
        (if $run.outcome == "answered" then $run.outcome else "\($run.outcome): \($run.reason)" end),
        ($run.removed.spans // 0),
        ($run.ledger.index // "-"),
        (if $task.expect == null or ($run.answer // "") == "" then "-"
         elif ($run.answer | ascii_downcase | contains($task.expect | ascii_downcase)) then "yes"
         else "no" end),
        ($run.answer // "" | gsub("\\s+"; " ") | if length > 60 then .[:59] + "…" else . end)
    ] | @tsv'
}

mkdir -p "$WORK"
case $MODEL in
smollm2) install_model ;;
markov) ;;
*) die "DEMO_MODEL must be smollm2 or markov, not $MODEL" ;;
esac
say "building axiom_hive_cli"
cargo build --locked --quiet -p axiom_hive_runner --bin axiom_hive_cli
CLI=${CARGO_TARGET_DIR:-target}/debug/axiom_hive_cli

# A fresh ledger with its own key and pin; the user's own state is not touched.
rm -rf "$LEDGER" "$WORK/state" "$WORK/run.log" "$WORK/replay.log"
export XDG_STATE_HOME="$WORK/state"
PYTHON_BIN=$(command -v python3)
if [ "$MODEL" = smollm2 ]; then
    PYTHON_BIN=$WORK/venv/bin/python
    say "starting the model's server on 127.0.0.1:$PORT"
    start_server
fi
export PYTHON_BIN

total=0
failed=0
indices=
printf 'kind\tprompt\tbranches\tagree\toutcome\tremoved\tindex\tright\tanswer\n' >"$WORK/table.tsv"
while IFS= read -r line; do
    total=$((total + 1))
    status=0
    result=$(ask "$total" "$(printf '%s' "$line" | jq -r .prompt)") || status=$?
    if check "$line" "$result" "$status"; then
        row "$line" "$result" >>"$WORK/table.tsv"
        indices="$indices $(printf '%s' "$result" | jq -r .ledger.index)"
    else
        failed=$((failed + 1))
    fi
    [ ! -t 2 ] || printf '\rdemo: %d prompts' "$total" >&2
done <$HERE/prompts.jsonl
[ ! -t 2 ] || printf '\n' >&2

awk -F '\t' -v OFS='  ' '
    { printf "%-8s  %-44s  %8s  %5s  %-24s  %7s  %5s  %5s  %s\n", $1, $2, $3, $4, $5, $6, $7, $8, $9 }
' "$WORK/table.tsv"

printf '\nverify %s\n' "$LEDGER"
"$CLI" verify "$LEDGER"
replayed=0
for index in $indices; do
    "$CLI" replay "$LEDGER" "$index" >>"$WORK/replay.log" ||
        die "record $index does not replay: see .cache/demo/replay.log"
    replayed=$((replayed + 1))
done

summary=$(awk -F '\t' 'NR > 1 {
        outcome[$5 == "answered" ? "answered" : "withheld"]++
        spans += $6
        right += $8 == "yes"
    } END {
        printf "%d answered (%d of them rightly), %d withheld, %d findings removed",
            outcome["answered"], right, outcome["withheld"], spans
    }' "$WORK/table.tsv")
printf '\n%d prompts: %s; %d records replayed; %d failed\n' "$total" "$summary" "$replayed" "$failed"
[ "$failed" -eq 0 ] && [ "$replayed" -eq "$total" ]
