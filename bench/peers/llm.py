"""A Llama of TinyLlama's shape with random weights: llama.cpp (bf16, Q8_0, Q4_0) and torch (bf16, f32) beside ours, in pairs: each round
runs one row in all programs right after each other, one thread, process CPU clock. Rates of llama-bench are those of many repeats less
those of few, so that loading costs nobody. Prints one JSON line a row: medians and the ratios' medians.

    LLAMA_BIN=folder of llama-bench, llama-batched-bench and llama-quantize  llm.py BENCH_PROGRAM [ROUNDS] [ROW...]

Rows: "bf16 prefill 512", "bf16 decode b1", "int8 decode b1", "int4 decode b1", "nf4 decode b1", ... as bench/llm.c has them. llama.cpp is
built from the source that llama-cpp-python carries (bench/peers/llm.sh); its GGUF files are written by the gguf package. Both sides round
activations to 8 bits for weights in 8 and 4 bits. The output head is Q8_0 or Q6_K there (by llama-quantize), int8 by rows here.
"""
import json, os, resource, statistics, subprocess, sys

import measure

BIN, WORK = os.environ["LLAMA_BIN"], os.environ.get("LLAMA_WORK", "build/peers-llm")
PROGRAM, ROUNDS = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3
GGUF = {"bf16": "bf16", "int8": "q8_0", "int4": "q4_0", "nf4": "q4_0"}  # what llama.cpp has of as many bits
H, I, L, NH, KV, V = 2048, 5632, 22, 32, 4, 32000


def write_gguf(path):
    import gguf
    import numpy as np
    w = gguf.GGUFWriter(path, "llama")
    w.add_context_length(2048), w.add_embedding_length(H), w.add_block_count(L), w.add_feed_forward_length(I)
    w.add_head_count(NH), w.add_head_count_kv(KV), w.add_layer_norm_rms_eps(1e-5), w.add_rope_dimension_count(H // NH)
    w.add_vocab_size(V), w.add_tokenizer_model("no_vocab"), w.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    r = np.random.default_rng(0)

    def matrix(name, *shape):
        a = r.standard_normal(shape, dtype=np.float32) * 0.02
        w.add_tensor(name, gguf.quants.quantize(a, gguf.GGMLQuantizationType.BF16), raw_dtype=gguf.GGMLQuantizationType.BF16)

    def ones(name):
        w.add_tensor(name, np.ones(H, np.float32))

    matrix("token_embd.weight", V, H), matrix("output.weight", V, H), ones("output_norm.weight")
    for i in range(L):
        b = f"blk.{i}."
        ones(b + "attn_norm.weight"), ones(b + "ffn_norm.weight")
        matrix(b + "attn_q.weight", H, H), matrix(b + "attn_k.weight", KV * H // NH, H), matrix(b + "attn_v.weight", KV * H // NH, H)
        matrix(b + "attn_output.weight", H, H), matrix(b + "ffn_gate.weight", I, H), matrix(b + "ffn_up.weight", I, H), matrix(b + "ffn_down.weight", H, I)
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()


def model(kind):
    os.makedirs(WORK, exist_ok=True)
    first, path = f"{WORK}/l11_bf16.gguf", f"{WORK}/l11_{GGUF[kind]}.gguf"
    if not os.path.exists(first):
        write_gguf(first + ".part"), os.rename(first + ".part", first)
    if not os.path.exists(path):
        subprocess.run([BIN + "/llama-quantize", "--allow-requantize", first, path, GGUF[kind].upper()], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return path


def cpu_of(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def llama(row):
    kind, what, size = row.split()
    prompt = what == "prefill"
    if kind not in GGUF:
        return None
    if size not in ("b1", "512"):
        b = int(size[1:])
        few, many = 4, 16
        def run(tokens):
            return cpu_of([BIN + "/llama-batched-bench", "-m", model(kind), "-t", "1", "-tb", "1", "-c", str(64 * b), "-npp", "16", "-ntg", str(tokens), "-npl", str(b)])
        return (many - few) * b / (run(many) - run(few))
    n = 512 if prompt else 16
    def run(repeats):
        return cpu_of([BIN + "/llama-bench", "-m", model(kind), "-t", "1", "-p", str(n if prompt else 0), "-n", str(0 if prompt else n), "-r", str(repeats), "--no-warmup"])
    few = 1
    many = 2 if prompt else 5
    return (many - few) * n / (run(many) - run(few))


def ours(row):
    line = next(r for r in measure.ours(PROGRAM, row, "--seconds", "4") if r.get("name") == row)
    return line["per_s"] * line["wall_s"] / line["cpu_s"]


def torch_of(row):
    """Tokens a CPU second of transformers' Llama in bf16; None where torch has nothing of the kind."""
    kind, what, size = row.split()
    if kind not in ("bf16", "f32"):
        return None
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    torch.set_num_threads(1)
    global _model
    if "_model" not in globals() or _model[0] != kind:
        c = LlamaConfig(vocab_size=V, hidden_size=H, intermediate_size=I, num_hidden_layers=L, num_attention_heads=NH, num_key_value_heads=KV)
        torch.set_default_dtype(torch.bfloat16 if kind == "bf16" else torch.float32)
        _model = (kind, LlamaForCausalLM(c).eval())
        torch.set_default_dtype(torch.float32)
    m = _model[1]
    with torch.inference_mode():
        if what == "prefill":
            ids = torch.randint(3, V, (1, 512))
            m(ids, logits_to_keep=1)
            return 512 / measure.seconds(lambda: m(ids, logits_to_keep=1), 1)
        b = int(size[1:])
        past = m(torch.randint(3, V, (b, 16)), use_cache=True).past_key_values
        one = torch.randint(3, V, (b, 1))
        past = m(one, past_key_values=past, use_cache=True).past_key_values

        def steps():
            nonlocal past
            for _ in range(6):
                past = m(one, past_key_values=past, use_cache=True).past_key_values
        return 6 * b / measure.seconds(steps, 1)


for row in sys.argv[3:] or ("bf16 decode b1", "int8 decode b1", "int4 decode b1", "nf4 decode b1", "bf16 prefill 512", "f32 prefill 512", "bf16 decode b8", "bf16 decode b32", "int4 decode b8", "int4 decode b32"):
    rates = {"vismin": [], "llama.cpp": [], "torch": []}
    for _ in range(ROUNDS):
        for name, f in (("vismin", ours), ("llama.cpp", llama), ("torch", torch_of)):
            rates[name].append(f(row))
    out = {"row": row, "threads": 1, "rounds": ROUNDS, "clock": "cpu"}
    for name, r in rates.items():
        if r[0] is not None:
            out[name + "_tokens_per_s"] = round(statistics.median(r), 2)
            if name != "vismin":
                out["ratio_" + name] = round(statistics.median(a / b for a, b in zip(rates["vismin"], r)), 3)
    print(json.dumps(out), flush=True)
