#!/bin/sh
# run.sh - every script of this folder that checks what the program exports against the libraries that are to load it. They get
# the program as their only argument, in an environment of their own that is made here. The last line is the verdict.
vismin=${VISMIN:-build/vismin} venv=${VENV:-build/peers} failed=0 passed=0
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv" && "$venv/bin/pip" install -q torch==2.15.0 torchvision==0.29.2 transformers==5.23.0 open_clip_torch==3.3.0 \
        peft==0.21.2 safetensors==0.8.0 numpy==2.3.5 pillow==13.0.0 pyarrow tensorboard || exit 1
fi
for script in "$(dirname "$0")"/*.py; do
    if "$venv/bin/python" "$script" "$vismin"; then echo "ok $script"; passed=$((passed + 1))
    else echo "FAIL $script"; failed=$((failed + 1)); fi
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
