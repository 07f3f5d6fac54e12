#!/bin/sh
# diffusion.sh BUILD_DIR - latent diffusion in diffusers and Grounding DINO in transformers, in pairs with ours. Makes model files of 4 GB in
# BUILD_DIR/peers-models once. Wants the environment of bench/peers/run.sh with diffusers and transformers.
set -e
venv=${VENV:-bench/venv} WORK=${WORK:-$1/peers-models} day=$(date +%Y-%m-%d)
export WORK
mkdir -p "$WORK"
"$venv/bin/python" -c 'import diffusers, transformers' 2>/dev/null || "$venv/bin/pip" install -q diffusers transformers
"$venv/bin/python" bench/peers/diffusion.py "$1/bench/diffusion" | tee "bench/results/$day-diffusion-peers.jsonl"
"$venv/bin/python" bench/peers/detect.py "$1/bench/detect" | tee "bench/results/$day-detect-peers.jsonl"
