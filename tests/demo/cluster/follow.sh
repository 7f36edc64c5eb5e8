# Tasks from their submission to their answers. Sourced by cluster.sh.
# shellcheck shell=sh disable=SC2034,SC2154

failed=0
fail() { say "FAILED: $*"; failed=$((failed + 1)); }
# each FIELD: that field of every task that must be accepted.
each() { jq -r "select(.refused | not) | .$1" $HERE/tasks.jsonl; }
of() { jq -r --arg name "$1" "select(.name == \$name) | .$2 // \"\"" $HERE/tasks.jsonl; }

# Until the webhook answers, a constitution is refused.
apply_objects() {
    sed "s|PYTHON_IMAGE|$PYTHON_IMAGE|; s|\[PYTHON_REPOSITORY\]|[\"${PYTHON_IMAGE%@*}\"]|" $HERE/objects.yaml >"$WORK/objects.yaml"
    waited=0
    until kube apply -f config/samples/constitution-open.yaml -f "$WORK/objects.yaml" >"$WORK/apply.log" 2>&1; do
        [ $waited -lt 60 ] || { cat "$WORK/apply.log" >&2; die 'the demo objects must be accepted within 60 s'; }
        sleep 1
        waited=$((waited + 1))
    done
    for name in open demo; do
        kube wait --for=condition=Ready "constitution/$name" --timeout=60s >/dev/null
    done
    kube wait -n $NAMESPACE --for=condition=Ready pod/model --timeout=120s >/dev/null
}

# What stands under spec.runtime: one file a kind.
write_runtimes() {
    process() { printf '{"process": {"image": "%s", "protocol": "%s", "command": %s}}\n' "$PYTHON_IMAGE" "$1" "$2"; }
    process ndjson '["python3", "-m", "axiom_hive_runtime", "--protocol", "ndjson"]' >"$WORK/generator.json"
    process text '["python3", "-c", "import os; print(os.urandom(8).hex())"]' >"$WORK/random.json"
    process text '["python3", "-c", "import sys; print(sys.stdin.read())"]' >"$WORK/repeat.json"
    process text '["python3", "-c", "import sys, time; time.sleep(10); print(sys.stdin.read())"]' >"$WORK/slow.json"
    echo '{"echo": {}}' >"$WORK/echo.json"
    jq -nc --arg url "http://model.$NAMESPACE.svc:8080/v1" '{openAI: {baseURL: $url, model: "generator"}}' >"$WORK/model.json"
}

submit_all() {
    while IFS= read -r line; do
        name=$(printf '%s' "$line" | jq -r .name)
        refused=$(printf '%s' "$line" | jq -r '.refused // ""')
        printf '%s' "$line" | jq --slurpfile runtime "$WORK/$(printf '%s' "$line" | jq -r .runtime).json" '{
            apiVersion: "axiomhive.io/v1alpha1", kind: "SupervisedTask", metadata: {name},
            spec: ({constitutionRef: {name: (.constitution // "demo")}, prompt, runtime: $runtime[0]}
                + if .branches then {branches} else {} end)}' >"$WORK/task.json"
        if said=$(task submit "$WORK/task.json" 2>&1 >/dev/null); then
            [ -z "$refused" ] || fail "$name was accepted, and must be refused"
        elif [ -n "$refused" ] && printf '%s' "$said" | grep -qF "$refused"; then
            say "$name is refused, as it must be: $said"
        else
            fail "$name is refused: $said"
        fi
    done <$HERE/tasks.jsonl
}

# As the drain of a node does. Deleting a runner pod by hand is what the guard keeps people from.
evict_marked() {
    for name in $(jq -r 'select(.evict) | .name' $HERE/tasks.jsonl); do
        uid=$(kube get stask "$name" -n $NAMESPACE -o jsonpath='{.metadata.uid}')
        waited=0 pod=
        until [ -n "$pod" ]; do
            [ $waited -lt 60 ] || { fail "$name has no running pod after 60 s"; return; }
            sleep 1
            waited=$((waited + 1))
            pod=$(kube get pods -n $NAMESPACE -l "axiomhive.io/task-uid=$uid" --field-selector status.phase=Running -o jsonpath='{.items[*].metadata.name}')
        done
        jq -nc --arg name "$pod" --arg namespace $NAMESPACE '{apiVersion: "policy/v1", kind: "Eviction", metadata: {$name, $namespace}}' |
            kube create --raw "/api/v1/namespaces/$NAMESPACE/pods/$pod/eviction" -f - >/dev/null
        say "evicted the pod of $name, half way"
    done
}

# A live table, until every task has ended.
follow() {
    waited=0 shown=0 lines=0
    total=$(each name | wc -l)
    while :; do
        table=$(kube get supervisedtasks -n $NAMESPACE)
        ended=$(kube get supervisedtasks -n $NAMESPACE -o json | jq '[.items[] | select(.status.outcome)] | length')
        if [ -t 1 ]; then
            [ $lines -eq 0 ] || printf '\033[%dA\033[J' "$lines"
            printf '%s\n' "$table"
            lines=$(printf '%s\n' "$table" | wc -l)
        fi
        [ "$ended" -lt "$total" ] || break
        [ $waited -lt $TASK_SECONDS ] || { fail "$((total - ended)) tasks have not ended after $TASK_SECONDS s"; break; }
        sleep 1
        waited=$((waited + 1))
    done
    [ -t 1 ] || printf '%s\n' "$table"
}

# The answers, and whether each task ended as it must.
report() {
    printf '\n'
    for name in $(each name); do
        status=0
        answer=$(task answer "$name" 2>"$WORK/answer.log") || status=$?
        [ "$status" -eq "$(of "$name" expect)" ] || fail "$name ended with exit code $status: $(cat "$WORK/answer.log")"
        never=$(of "$name" never)
        case $answer in *"${never:-no such text}"*) fail "$name: the answer holds what must not leave" ;; esac
        printf '%-14s exit code %d  %s\n' "$name" "$status" "$answer"
    done
    for name in $(jq -r 'select(.evict) | .name' $HERE/tasks.jsonl); do
        attempt=$(kube get stask "$name" -n $NAMESPACE -o jsonpath='{.status.attempt}')
        [ "${attempt:-0}" -gt 0 ] || fail "$name must have been answered by a later attempt"
    done
}
