"""Grounding DINO of the tiny shape in torch (transformers, random weights) beside ours, in pairs: each round runs one row in both programs right after
each other, one thread, process CPU clock, with the same model files, which are made in $WORK once. Prints one JSON line a row: medians, the
ratios' median and range, peak memory of both processes beyond what they began with, weights among it, and the shares of our time in the parts of
the network. Then what our program gains on one picture with ten prompts one after the other, and with their phrases in one text, over ten runs of one.

    WORK=folder  detect.py BENCH_PROGRAM [ROUNDS] [f32|bf16|all] [ROW...]

Rows: "tiny b1", "tiny b4", "prompts".
"""
import json, os, statistics, subprocess, sys, time

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
WORK, PROGRAM = os.environ["WORK"], sys.argv[1]


def status_mb(what):  # getrusage would count what the parent had at the fork
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(what)) / 1024


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
    """In a process of its own: the most during two runs, beyond the libraries."""
    import torch
    from transformers.models.grounding_dino import modeling_grounding_dino  # noqa: F401
    begun = status_mb("VmRSS")
    f = work(row, dtype)
    open("/proc/self/clear_refs", "w").write("5")  # loading does not count
    f(), f()
    print(status_mb("VmHWM") - begun)


def ours(row, dtype):
    out = subprocess.run([PROGRAM, "--threads", "1", "--seconds", "1", "--dtype", dtype, row], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True,
                         env=dict(os.environ, BENCH_MODELS=WORK)).stdout.splitlines()
    return [json.loads(line) for line in out]


def seconds(f):
    best = 1e30
    for _ in range(2):
        c = time.process_time()
        f()
        best = min(best, time.process_time() - c)
    return best


def pairs(row, dtype):
    f, mine, theirs, parts = work(row, dtype), [], [], None
    f()
    for _ in range(rounds):
        time_of, parts = ours(row, dtype)
        mine.append(time_of["cpu_s"]), theirs.append(seconds(f))
    del f
    one = subprocess.run([sys.executable, __file__, PROGRAM, "--memory", row, dtype], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    peak, own = float(one.stdout.split()[-1]), parts["weights_mb"] + parts["beyond_mb"]
    ratios = [t / m for t, m in zip(theirs, mine)]
    return {"vismin_cpu_s": round(statistics.median(mine), 3), "torch_cpu_s": round(statistics.median(theirs), 3), "ratio": round(statistics.median(ratios), 3),
            "ratio_min": round(min(ratios), 3), "ratio_max": round(max(ratios), 3), "vismin_mb": own, "torch_mb": round(peak), "memory_ratio": round(own / peak, 3),
            **{k: parts[k] for k in ("backbone", "text", "encoder", "decoder")}}


def prompts(dtype):
    one, ten, joined = [], [], []
    for _ in range(rounds):
        for row, to in (("one prompt", one), ("ten prompts", ten), ("ten joined", joined)):
            to.append(ours(row, dtype)[0]["cpu_s"])
    return {"one_cpu_s": statistics.median(one), "ten_cpu_s": statistics.median(ten), "joined_cpu_s": statistics.median(joined),
            "ratio_ten": round(statistics.median(10 * o / t for o, t in zip(one, ten)), 3), "ratio_joined": round(statistics.median(10 * o / j for o, j in zip(one, joined)), 3)}


if "--memory" in sys.argv:
    torch_memory(*sys.argv[-2:])
    sys.exit()
rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
types = sys.argv[3] if len(sys.argv) > 3 else "all"
for row in sys.argv[4:] or ("tiny b1", "tiny b4", "prompts"):
    for dtype in ("f32", "bf16") if types == "all" else (types,):
        out = {"row": row, "dtype": dtype, "threads": 1, "clock": "cpu", "rounds": rounds}
        print(json.dumps({**out, **(prompts(dtype) if row == "prompts" else pairs(row, dtype))}), flush=True)
