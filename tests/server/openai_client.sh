#!/usr/bin/env bash
# The official `openai` client, of a pinned version, against a server of its own.
source "$(dirname "$0")/common.sh"
environment openai 'openai==2.8.1' 'pillow==12.0.0'
serve
"$python" "$root/tests/server/openai_client.py" "$address"
