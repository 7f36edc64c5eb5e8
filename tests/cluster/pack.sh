#!/bin/sh
# Packs one static program as an OCI image: sh pack.sh PROGRAM NAME ARCHIVE. The program becomes the entry point.
# The same input gives the same bytes, so the same digest.
set -eu
program=$1 name=$2 archive=$3
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
pack() { tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$1" -cf "$2" .; }
# blob FILE: moves it among the blobs, named by its digest, and prints what a descriptor says of it.
blob() {
    digest=$(sha256sum "$1" | cut -d' ' -f1)
    printf '"digest":"sha256:%s","size":%s' "$digest" "$(wc -c <"$1")"
    mv "$1" "$scratch/image/blobs/sha256/$digest"
}
entry=$(basename "$name" | cut -d: -f1)
mkdir -p "$scratch/root/tmp" "$scratch/image/blobs/sha256"
chmod 1777 "$scratch/root/tmp"
cp "$program" "$scratch/root/$entry"
pack "$scratch/root" "$scratch/layer"
printf '{"architecture":"%s","os":"linux","config":{"Entrypoint":["/%s"]%s},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')" "$entry" \
    "$([ "$entry" != testbox ] || printf ',"Cmd":["pause"]')" "$(sha256sum "$scratch/layer" | cut -d' ' -f1)" >"$scratch/config"
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json",%s},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar",%s}]}' \
    "$(blob "$scratch/config")" "$(blob "$scratch/layer")" >"$scratch/manifest"
printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",%s,"annotations":{"io.containerd.image.name":"%s","org.opencontainers.image.ref.name":"%s"}}]}' \
    "$(blob "$scratch/manifest")" "$name" "${name##*:}" >"$scratch/image/index.json"
printf '{"imageLayoutVersion":"1.0.0"}' >"$scratch/image/oci-layout"
pack "$scratch/image" "$archive"
