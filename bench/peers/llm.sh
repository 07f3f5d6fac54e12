#!/bin/sh
# llm.sh BUILD_DIR - language models in llama.cpp and torch, in pairs with ours; builds llama.cpp from the source that llama-cpp-python
# carries, once. Wants the environment of bench/peers/run.sh with transformers and gguf.
set -e
venv=${VENV:-bench/venv} work=${LLAMA_WORK:-$1/peers-llm}
mkdir -p "$work"
"$venv/bin/python" -c 'import transformers, gguf' 2>/dev/null || "$venv/bin/pip" install -q transformers gguf
if [ ! -x "$work/build/bin/llama-batched-bench" ]; then
    "$venv/bin/pip" install -q scikit-build-core
    (cd "$work" && "$venv/bin/pip" download -q --no-deps --no-build-isolation --no-binary llama-cpp-python llama-cpp-python==0.3.36 && tar xzf llama_cpp_python-*.tar.gz)
    cmake -S "$work"/llama_cpp_python-*/vendor/llama.cpp -B "$work/build" -DCMAKE_BUILD_TYPE=Release -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF \
        -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_EXAMPLES=OFF >/dev/null
    cmake --build "$work/build" --target llama-bench llama-batched-bench llama-quantize -j2 >/dev/null
fi
LLAMA_BIN=$work/build/bin LLAMA_WORK=$work "$venv/bin/python" bench/peers/llm.py "$1/bench/llm" | tee "bench/results/$(date +%Y-%m-%d)-llm-peers.jsonl"
