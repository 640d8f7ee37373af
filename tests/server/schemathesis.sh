#!/usr/bin/env bash
# Requests made up from the OpenAPI document: no answer may be a server error, of another type, or of a status that the document does not name.
# Further arguments go to schemathesis, such as --max-examples 200.
source "$(dirname "$0")/common.sh"
environment schemathesis 'schemathesis==4.6.6' 'hypothesis==6.148.7'
# Paintings are small and short here: what is fuzzed is the protocol.
export SINOPIA_TOKEN=a-token-for-the-fuzzing
serve --max-steps 2 --steps 1 --max-pixels 16384 --method sd --max-queued 100000
checks=not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,unsupported_method
cd "$scratch" # where it leaves its notes
"$(dirname "$python")/schemathesis" run "$address/openapi.json" --checks "$checks" --max-examples 25 --seed 1 \
    --exclude-path-regex '/events$' --request-timeout 120 -H "Authorization: Bearer $SINOPIA_TOKEN" "$@" || { tail -20 "$scratch/log" >&2; exit 1; }
