#!/bin/sh
# gpu.sh BUILD_DIR - bench/gpu.c on device $GPU into bench/results/<date>-gpu.jsonl, .txt and .svg; PEERS=1: the same work in torch on
# the same device right after it (bench/peers/gpu.py).
set -e
out=bench/results/$(date +%Y-%m-%d)-gpu
"$1/bench/gpu" --device "${GPU:-cuda:0}" --svg "$out.svg" 2>"$out.txt" | tee "$out.jsonl" || { cat "$out.txt"; exit 1; }
cat "$out.txt"
echo "written: $out.jsonl $out.txt $out.svg"
[ -n "$PEERS" ] || exit 0
venv=${VENV:-bench/venv}
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q torch==2.15.0 open_clip_torch==3.3.0
fi
"$venv/bin/python" bench/peers/gpu.py "${GPU:-cuda:0}" "$out.jsonl" | tee "$out-peers.jsonl"
