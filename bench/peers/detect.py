"""Grounding DINO of the tiny shape in torch (transformers, random weights) beside ours, in pairs: each round runs one row in both programs right after
each other, one thread, process CPU clock, with the same model files, which are made in $WORK once. Prints one JSON line a row: medians, the
ratios' median and range, peak memory of both processes beyond what they began with, weights among it, and the shares of our time in the parts of
the network. Then what our program gains on one picture with ten prompts one after the other, and with their phrases in one text, over ten runs of one.

    WORK=folder  detect.py BENCH_PROGRAM [ROUNDS] [f32|bf16|all] [ROW...]

Rows: "tiny b1", "tiny b4", "prompts".
"""
import json, os, statistics, sys

from measure import apart, compared, ours, peak_of, rows_of, seconds, status_mb

WORK, PROGRAM = os.environ["WORK"], sys.argv[1]


def work(row, dtype):
    import torch
    from transformers import GroundingDinoConfig, GroundingDinoForObjectDetection
    torch.set_num_threads(1), torch.manual_seed(0)
    dt, B, folder = torch.float32 if dtype == "f32" else torch.bfloat16, int(row.split(" b")[1]), f"{WORK}/gdino"
    if not os.path.exists(folder):
        GroundingDinoForObjectDetection(GroundingDinoConfig()).save_pretrained(folder)
    m = GroundingDinoForObjectDetection.from_pretrained(folder, dtype=dt).eval()
    ids = torch.randint(2000, 30000, (B, 16))
    ids[:, 0], ids[:, 5::5], ids[:, 15] = 101, 1012, 102
    x, mask = torch.randn(B, 3, 800, 1066, dtype=dt), torch.ones(B, 800, 1066, dtype=torch.long)

    def run():
        with torch.inference_mode():
            m(pixel_values=x, pixel_mask=mask, input_ids=ids, attention_mask=torch.ones_like(ids), token_type_ids=torch.zeros_like(ids))
    return run


def torch_memory(row, dtype):
    """In a process of its own: the most during two runs, beyond the libraries; loading does not count."""
    import torch
    from transformers.models.grounding_dino import modeling_grounding_dino  # noqa: F401
    begun = status_mb("VmRSS")
    print(peak_of(work(row, dtype)) - begun)


def mine_of(row, dtype):
    return ours(PROGRAM, row, "--seconds", "1", "--dtype", dtype, BENCH_MODELS=WORK)


def pairs_of(row, dtype):
    f, mine, theirs, parts = work(row, dtype), [], [], None
    f()
    for _ in range(rounds):
        time_of, parts = mine_of(row, dtype)
        mine.append(time_of["cpu_s"]), theirs.append(seconds(f, 2))
    del f
    peak, own = apart(PROGRAM, "--memory", row, dtype), parts["weights_mb"] + parts["beyond_mb"]
    return {**compared(mine, theirs), "vismin_mb": own, "torch_mb": round(peak), "memory_ratio": round(own / peak, 3),
            **{k: parts[k] for k in ("backbone", "text", "encoder", "decoder")}}


def prompts(dtype):
    one, ten, joined = [], [], []
    for _ in range(rounds):
        for row, to in (("one prompt", one), ("ten prompts", ten), ("ten joined", joined)):
            to.append(mine_of(row, dtype)[0]["cpu_s"])
    return {"one_cpu_s": statistics.median(one), "ten_cpu_s": statistics.median(ten), "joined_cpu_s": statistics.median(joined),
            "ratio_ten": round(statistics.median(10 * o / t for o, t in zip(one, ten)), 3), "ratio_joined": round(statistics.median(10 * o / j for o, j in zip(one, joined)), 3)}


if "--memory" in sys.argv:
    torch_memory(*sys.argv[-2:])
    sys.exit()
rounds, pairs = rows_of(("tiny b1", "tiny b4", "prompts"))
for row, dtype in pairs:
    out = {"row": row, "dtype": dtype, "threads": 1, "clock": "cpu", "rounds": rounds}
    print(json.dumps({**out, **(prompts(dtype) if row == "prompts" else pairs_of(row, dtype))}), flush=True)
