#!/usr/bin/env bash
# The ComfyUI nodes against a server of its own, without ComfyUI and PyTorch, which are too large to fetch here: pictures stay arrays of numpy, all else is
# as in ComfyUI. PYTHON=path/to/python with torch, numpy and pillow tests the tensors too.
source "$(dirname "$0")/common.sh"
if [ -n "${PYTHON:-}" ]; then python=$PYTHON; else environment comfyui 'numpy==2.3.5' 'pillow==12.0.0'; fi
export SINOPIA_TOKEN=a-token-for-the-nodes
serve --max-queued 1
SINOPIA_SERVER=$address "$python" "$root/tests/server/comfyui_nodes.py" "$sinopia" "$scratch"
