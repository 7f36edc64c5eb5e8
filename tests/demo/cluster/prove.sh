# Outside of the cluster: receipts and ledger, with the public key alone. Sourced by cluster.sh.
# shellcheck shell=sh disable=SC2034,SC2154

secret() { kube get secret -n $RELEASE "$1" -o "go-template={{index .data \"$2\" | base64decode}}"; }

prove_receipts() {
    secret axh-ledger-key vkey >"$WORK/vkey"
    rm -f "$WORK"/receipts/*
    count=0
    for name in $(each name); do
        file=$WORK/receipts/$name.tlog-proof
        if task receipt "$name" --out "$file" --key "$WORK/vkey" >"$WORK/receipt.log" 2>&1 &&
            "$CLI" verify --receipt "$file" --key "$WORK/vkey" >"$WORK/receipt.log" 2>&1; then
            count=$((count + 1))
        else
            fail "the receipt of $name: $(cat "$WORK/receipt.log")"
        fi
    done
    printf '\n%d receipts of %d tasks verify without the cluster\n' "$count" "$(each name | wc -l)"
}

# Every record that the ledger has, with the proof that it stands where it must.
prove_ledger() {
    secret axh-ledger-tls ca.crt >"$WORK/ca.crt"
    kube port-forward -n $RELEASE pod/axiom-hive-ledger-0 :8443 >"$WORK/forward.log" 2>&1 &
    forward=$!
    waited=0 port=
    until [ -n "$port" ]; do
        [ $waited -lt 20 ] && kill -0 $forward 2>/dev/null || { fail "the ledger cannot be reached: $(cat "$WORK/forward.log")"; return; }
        sleep 1
        waited=$((waited + 1))
        port=$(sed -n 's/^Forwarding from 127.0.0.1:\([0-9]*\) .*/\1/p' "$WORK/forward.log")
    done
    ask() { curl -fsS --noproxy '*' --max-time 20 --cacert "$WORK/ca.crt" --resolve "$LEDGER_HOST:$port:127.0.0.1" "https://$LEDGER_HOST:$port$1"; }
    size=$(ask /checkpoint | sed -n 2p)
    [ -n "$size" ] || { fail 'the ledger must have a checkpoint'; return; }
    first=0
    [ "$size" -le $MAX_VERIFIED ] || first=$((size - MAX_VERIFIED))
    index=$first
    while [ "$index" -lt "$size" ]; do
        ask "/v1/records/$index" | jq -j .receipt >"$WORK/record.tlog-proof"
        "$CLI" verify --output json --receipt "$WORK/record.tlog-proof" --key "$WORK/vkey" 2>&1 |
            jq -e ".index == $index and .treeSize >= $size" >/dev/null || { fail "record $index of the ledger does not verify"; return; }
        index=$((index + 1))
    done
    printf 'records %d to %d of a ledger of %d verify, each in its place under a signed checkpoint\n' "$first" $((size - 1)) "$size"
}
