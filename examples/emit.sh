#!/usr/bin/env bash
# Meters one call of a model with nothing but curl: emits what the call used, emits it again as one does when an answer was
# lost, and reads the balance after it. The second time changes nothing, because the id is the same.
#
#   export KEY=... PRODUCER=http://127.0.0.1:8081 EDGE=http://127.0.0.1:8080    # `cargo xtask demo --keep` prints them
#   examples/emit.sh
set -euo pipefail
: "${KEY:?}" "${PRODUCER:?}" "${EDGE:?}"
org=${ORG:-org-000}

# A UUIDv7: the milliseconds since 1970, then chance. The event's time is the one in its id.
time=$(printf '%012x' $(($(date +%s) * 1000)))
chance=$(od -An -N10 -tx1 /dev/urandom | tr -d ' \n')
id=${time:0:8}-${time:8:4}-7${chance:0:3}-8${chance:3:3}-${chance:6:12}

# What the provider's answer said of its usage. Cached tokens are a part of the input, not an addition.
event='{"event_id": "'$id'", "org_id": "'$org'", "module": "rag-retrieval", "provider": "openai", "request_model": "gpt-5",
        "input_tokens": 1000, "cache_read_input_tokens": 600, "output_tokens": 200}'

# Tries again by itself when nobody answers, and on 429 and 5xx. `Prefer: wait` asks for the position in the log.
emit() {
    curl --silent --show-error --fail-with-body --retry 5 --retry-connrefused \
        -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' -H 'Prefer: wait=5' \
        "$PRODUCER/v1/events" -d "$event"
}
position_of() {
    sed -n 's/.*"position":"\([^"]*\)".*/\1/p' <<<"$1"
}

first=$(emit)
echo "emitted $id at $(position_of "$first")"
again=$(emit)
position=$(position_of "$again")
if [ -z "$position" ]; then
    echo "emitted $id: it is in the gateway's spool, and has no position while the brokers are away"
    exit
fi
echo "emitted $id again at $position"

# The ledger has passed the position when this is answered.
balance=$(curl --silent --show-error --fail-with-body -H "Authorization: Bearer $KEY" \
    "$EDGE/v1/balance?org_id=$org&at_least=$position")
echo "$org has $(sed -n 's/^{[^[{]*"balance":"\([^"]*\)".*/\1/p' <<<"$balance") credits"
