#!/bin/sh
# run.sh BUILD_DIR - the same work in torch, in pairs with ours; makes its own virtual environment.
set -e
venv=${VENV:-bench/venv}
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q torch==2.15.0 open_clip_torch==3.3.0
fi
out=bench/results/$(date +%Y-%m-%d)-clip-peers.jsonl
"$venv/bin/python" bench/peers/clip.py "$1/bench/clip" | tee "$out"
