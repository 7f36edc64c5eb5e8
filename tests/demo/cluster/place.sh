# Where the demo runs, and how images get there. Sourced by cluster.sh.
# shellcheck shell=sh disable=SC2034,SC2154

builder() {
    for program in docker podman; do have $program && $program info >/dev/null 2>&1 && { echo $program; return; }; done
    return 1
}

choose_place() {
    if [ -n "$context" ]; then
        echo context
    elif have kind && have docker && docker info >/dev/null 2>&1; then
        echo kind
    elif [ "$(uname -s)" = Linux ] && [ "$(id -u)" = 0 ] && unshare --mount --net --pid --fork true 2>/dev/null; then
        echo process
    else
        echo none
    fi
}

# Says what will happen before anything is changed, and stops where it cannot.
announce() {
    case $1 in
    context)
        [ -n "$registry" ] || die "--context needs --registry HOST/PATH: the nodes of $context must be able to pull the images. Nothing was changed."
        for program in kubectl helm jq curl; do have $program || die "--context needs $program. Nothing was changed."; done
        builder >/dev/null || die '--context needs docker or podman, to build and push images. Nothing was changed.'
        kube get --raw /readyz >/dev/null || die "context $context must be reachable. Nothing was changed."
        say "on context $context: builds 4 images (15 min the first time), pushes them to $registry,"
        say "installs the charts axiom-hive-crds and axiom-hive into namespace $RELEASE, runs $(wc -l <$HERE/tasks.jsonl) tasks in $NAMESPACE (about 2 min)"
        ;;
    kind)
        for program in kubectl helm jq curl; do have $program || die "kind is here, and so must be $program. Nothing was changed."; done
        say "on kind: makes the cluster $KIND, builds 4 images and loads them (15 min the first time), installs both charts,"
        say "runs $(wc -l <$HERE/tasks.jsonl) tasks in $NAMESPACE (about 2 min)"
        ;;
    process)
        say "on this machine: a real Kubernetes of two nodes, built from source (13 min the first time), 4 images (15 min the first time),"
        say "both charts, $(wc -l <$HERE/tasks.jsonl) tasks in $NAMESPACE (about 2 min). DEMO=local leaves all of this out"
        ;;
    esac
}

where_it_is() {
    case $place in
    context) echo "The release stays in namespace $RELEASE of $context: helm uninstall -n $RELEASE axiom-hive" ;;
    kind) echo "The cluster stays: kind delete cluster --name $KIND" ;;
    process) echo "The cluster stays (KUBECONFIG=$KUBECONFIG): make cluster-down" ;;
    esac
}

# NAME: what charts and tasks call the image. Each place writes NAME.image with "REPOSITORY DIGEST".
repository_of() { cut -d' ' -f1 "$WORK/$1.image"; }
digest_of() { cut -d' ' -f2 "$WORK/$1.image"; }

# build TAG-PREFIX: every image, tagged PREFIX/NAME:demo.
build() {
    for name in $IMAGES; do
        say "image $name"
        case $name in
        python-runtime) $(builder) build -q -t "$1/$name:demo" runner/python >/dev/null ;;
        *) $(builder) build -q --target "$name" -t "$1/$name:demo" . >/dev/null ;;
        esac || die "image $name could not be built"
    done
}

prepare_context() {
    build "$registry"
    for name in $IMAGES; do
        $(builder) push "$registry/$name:demo" >"$WORK/push.log" 2>&1 || { cat "$WORK/push.log" >&2; die "$registry/$name:demo could not be pushed"; }
        digest=$($(builder) inspect --format '{{index .RepoDigests 0}}' "$registry/$name:demo")
        echo "$registry ${digest##*@}" >"$WORK/$name.image"
    done
}

prepare_kind() {
    context=kind-$KIND
    kind get clusters 2>/dev/null | grep -qx $KIND || kind create cluster --name $KIND --wait 120s
    build localhost/axiom-hive
    for name in $IMAGES; do
        image=localhost/axiom-hive/$name:demo
        kind load docker-image --name $KIND "$image" >/dev/null 2>&1 || die "$image could not be loaded into kind"
        # The node names images by the digest of what was imported; a reference by digest must exist there.
        node=$KIND-control-plane
        digest=$(docker exec $node ctr -n k8s.io images ls "name==$image" | awk 'NR == 2 { print $3 }')
        docker exec $node ctr -n k8s.io images tag --force "$image" "${image%:demo}@$digest" >/dev/null
        echo "localhost/axiom-hive $digest" >"$WORK/$name.image"
    done
}

prepare_process() {
    sh tests/bootstrap.sh rust go cluster
    say 'Kubernetes from source, where it is not built'
    sh tests/cluster/build.sh >"$WORK/build.log" 2>&1 ||
        { tail -n 20 "$WORK/build.log" >&2; die 'Kubernetes could not be built'; }
    cargo build --locked --quiet -p axiom_hive_testcluster --bin cluster
    cluster=${CARGO_TARGET_DIR:-target}/debug/cluster
    say 'starting it, where it is not up'
    "$cluster" up --size full
    KUBECONFIG=$("$cluster" kubeconfig)
    PATH=${AXIOM_HIVE_CLUSTER_CACHE:-$HOME/.cache/axiom-hive-testcluster}/bin:$PATH
    HELM_CACHE_HOME=$WORK/helm HELM_CONFIG_HOME=$WORK/helm HELM_DATA_HOME=$WORK/helm
    export KUBECONFIG PATH HELM_CACHE_HOME HELM_CONFIG_HOME HELM_DATA_HOME
    say 'images, where they are not built'
    # shellcheck disable=SC2086 # one word an image
    sh tests/cluster/images.sh $IMAGES >"$WORK/images.txt"
    for name in $IMAGES; do
        loaded=$("$cluster" load ".cache/images/$name.tar")
        echo "localhost/axiom-hive ${loaded##* }" >"$WORK/$name.image"
    done
}
