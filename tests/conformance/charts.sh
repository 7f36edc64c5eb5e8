#!/bin/sh
# The charts, judged by tools that are not ours: both major versions of Helm that users have, kubeconform and kube-score.
#
#   sh tests/conformance/charts.sh           what needs no API server
#   sh tests/conformance/charts.sh install   then the tests of installing and upgrading, with Helm 3, on an API server of their own
#
# Helm 4 is the test cluster's. The schemas come from Kubernetes' own OpenAPI document, in its Go module, and from crds/.
set -eu
cd "$(dirname "$0")/../.."
sh tests/bootstrap.sh go
export PATH="$HOME/.cargo/bin:/usr/local/go/bin:$PATH"
HELM3=helm.sh/helm/v3/cmd/helm@v3.22.0
KUBECONFORM=github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0
KUBE_SCORE=github.com/zegl/kube-score/cmd/kube-score@v1.20.0
TOOLS=$PWD/.cache/tools
WORK=$PWD/.cache/conformance/charts
started=$(date +%s)

passed=0
pass() {
    passed=$((passed + 1))
    printf 'charts: ok: %s\n' "$1"
}
die() {
    printf 'charts: FAILED: %s\n' "$1" >&2
    exit 1
}

mkdir -p "$TOOLS/bin" "$TOOLS/helm3" "$WORK"
# About two minutes on 2 cores, once. The name `helm` is taken by the other one.
[ -x "$TOOLS/helm3/helm" ] || CGO_ENABLED=0 GOBIN=$TOOLS/helm3 go install -trimpath "$HELM3"
[ -x "$TOOLS/bin/kubeconform" ] || CGO_ENABLED=0 GOBIN=$TOOLS/bin go install "$KUBECONFORM"
[ -x "$TOOLS/bin/kube-score" ] || CGO_ENABLED=0 GOBIN=$TOOLS/bin go install "$KUBE_SCORE"
PROGRAMS=$(sh tests/cluster/build.sh kubernetes etcd helm | tail -n 1)
version=$(sed -n 's/.*[[:space:]]k8s.io\/kubernetes \(v[0-9.]*\)$/\1/p' tests/cluster/tools/kubernetes/go.mod)
source=$(go mod download -json "k8s.io/kubernetes@$version" | jq -r .Dir)
(cd tests/conformance/schemas && go build -o "$TOOLS/bin/schemas" .)
rm -rf "$WORK/schemas"
mkdir "$WORK/schemas"
"$TOOLS/bin/schemas" "$WORK/schemas" "$source/api/openapi-spec/swagger.json" crds/*.yaml

helm3() { "$TOOLS/helm3/helm" "$@"; }
helm4() { "$PROGRAMS/helm" "$@"; }
# The one exception: a Certificate is cert-manager's kind, and neither Kubernetes' nor ours.
judge() {
    "$TOOLS/bin/kubeconform" -strict -summary -skip cert-manager.io/v1/Certificate -kubernetes-version "${version#v}" \
        -schema-location "$WORK/schemas/{{.ResourceKind}}{{.KindSuffix}}.json" "$@"
}
# The exceptions: a CPU limit would only slow what waits for a sync or for the API server, and requests share the CPU
# fairly; images are named by digest, so that pulling them again could not change them; replicas are spread by
# topologySpreadConstraints; the ledger is reached by its one Service, and no pod of it by a name of its own.
score() {
    "$TOOLS/bin/kube-score" score --kubernetes-version "${version%.*}" --exit-one-on-warning --ignore-container-cpu-limit \
        --ignore-test container-image-pull-policy --ignore-test deployment-has-host-podantiaffinity \
        --ignore-test statefulset-has-servicename --output-format ci "$@"
}
# One object a line, sorted, without blank lines: Helm 4 writes more of them, and webhooks last.
objects() {
    awk '/^---$/ { print all; all = ""; next } NF { all = all $0 "\001" } END { print all }' "$1" | sort
}

# Each line shows another part of the templates.
number=0
while IFS= read -r values; do
    number=$((number + 1))
    for major in 3 4; do
        for chart in axiom-hive axiom-hive-crds; do
            set=
            [ "$chart" = axiom-hive-crds ] || set=$values
            # shellcheck disable=SC2086 # one word a value
            "helm$major" template axiom-hive "charts/$chart" --namespace axiom-hive --kube-version "$version" $set \
                >"$WORK/$chart-$number-$major.yaml"
            objects "$WORK/$chart-$number-$major.yaml" >"$WORK/$chart-$number-$major.objects"
            # shellcheck disable=SC2086
            "helm$major" lint --strict "charts/$chart" --kube-version "$version" $set >"$WORK/lint.log" ||
                { cat "$WORK/lint.log" >&2; die "helm $major lint, $chart, $values"; }
        done
    done
    for chart in axiom-hive axiom-hive-crds; do
        [ -s "$WORK/$chart-$number-4.objects" ] || die "$chart is empty"
        cmp "$WORK/$chart-$number-3.objects" "$WORK/$chart-$number-4.objects" || die "Helm 3 and 4 differ: $chart, $values"
        judge "$WORK/$chart-$number-4.yaml" >"$WORK/judged.log" || { cat "$WORK/judged.log" >&2; die "$chart, $values"; }
        # Without its policies every pod is one that no policy selects.
        case $values in *networkPolicies.enabled=false*) continue ;; esac
        score "$WORK/$chart-$number-4.yaml" >"$WORK/scored.log" || { grep -v '^.\(OK\|SKIPPED\)' "$WORK/scored.log" >&2; die "$chart, $values"; }
    done
done <<VALUES

--set=webhook.certManager.enabled=true,webhook.certManager.issuer.name=ca
--set=namespaces={a,b},images.pullSecrets={p},operator.priorityClassName=high
--set=networkPolicies.apiServer.cidrs={10.0.0.0/8},networkPolicies.metricsNamespaceLabels.a=b
--values=tests/conformance/witnesses.yaml
--set=networkPolicies.enabled=false,ledger.storage.accessMode=ReadWriteOnce,ledger.origin=a.example/b
VALUES
pass "Helm 3 and 4 lint both charts and make the same objects of $number sets of values; kubeconform and kube-score find nothing wrong"

judge config/samples/*.yaml crds/*.yaml || die 'a sample or a definition'
pass 'kubeconform accepts every sample and both definitions'
# A judge that accepts everything would prove nothing.
for sample in constitution-unknown-field task-no-command task-secret-variable; do
    ! judge "config/samples/invalid/$sample.yaml" >/dev/null || die "kubeconform accepts $sample"
done
sed 's/replicas: 2/replica: 2/' "$WORK/axiom-hive-1-4.yaml" >"$WORK/damaged.yaml"
! judge "$WORK/damaged.yaml" >/dev/null || die 'kubeconform accepts a field that nobody knows'
sed 's/runAsNonRoot: true/runAsNonRoot: false/; s/readOnlyRootFilesystem: true/readOnlyRootFilesystem: false/' "$WORK/axiom-hive-1-4.yaml" >"$WORK/damaged.yaml"
! score "$WORK/damaged.yaml" >/dev/null || die 'kube-score accepts a root that can be written'
pass 'kubeconform and kube-score refuse what must be refused'

if [ "${1:-}" = install ]; then
    # The same programs, but for one.
    rm -rf "$WORK/bin"
    mkdir "$WORK/bin"
    ln -s "$PROGRAMS"/* "$WORK/bin/"
    ln -sf "$TOOLS/helm3/helm" "$WORK/bin/helm"
    AXIOM_HIVE_CLUSTER=api AXIOM_HIVE_CLUSTER_BIN=$WORK/bin \
        cargo test --workspace --locked --features axiom_hive_runner/crash-points --test api_server chart::
    pass 'with Helm 3 a release is installed, upgraded without a change, taken away and installed again'
fi
printf 'charts: %d passed, 0 failed, in %d s\n' "$passed" $(($(date +%s) - started))
