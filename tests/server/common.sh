# For the scripts beside it: a server of their own, a virtual environment of their own.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
sinopia=${SINOPIA:-$root/target/debug/sinopia}
[ -x "$sinopia" ] || { echo "there is no $sinopia: cargo test --workspace --no-run builds it" >&2; exit 2; }
scratch=$(mktemp -d)

# An environment with the given packages, made once.
environment() {
    local folder=$root/target/venv-$1
    shift
    [ -e "$folder/complete" ] || { python3 -m venv "$folder" && "$folder/bin/pip" install --quiet "$@" && touch "$folder/complete"; }
    python=$folder/bin/python
}

# Starts a server with further flags; `address` is where it listens.
serve() {
    "$sinopia" serve --listen 127.0.0.1:0 --data "$scratch/jobs" "$@" 2>"$scratch/log" &
    server=$!
    trap 'kill $server 2>/dev/null || true; wait $server 2>/dev/null || true; rm -rf "$scratch"' EXIT
    for _ in $(seq 100); do
        address=$(sed -n 's/^open \(http:[^ ]*\).*/\1/p' "$scratch/log")
        [ -n "$address" ] && return
        sleep 0.2
    done
    cat "$scratch/log" >&2
    exit 1
}
