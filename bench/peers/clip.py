"""CLIP ViT-B/32 in torch (open_clip modules, random weights) beside ours, in pairs: each round runs one row in both
programs right after each other, one thread, process CPU clock. Prints one JSON line a row: medians and the ratio's median.

    clip.py BENCH_PROGRAM [ROUNDS] [f32|bf16] [ROW...]
"""
import json, statistics, sys

from measure import apart, ours, seconds, status_mb
import torch, open_clip  # noqa: E402, E401

torch.set_num_threads(1)
torch.manual_seed(0)
PROGRAM, ROUNDS = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5
TYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def tokens(B):
    t = torch.randint(0, 49406, (B, 77))
    t[:, -1] = 49407
    return t


def work(row, dtype):
    kind, B = row.split(" b")
    B, dt = int(B), TYPES[dtype]
    model = open_clip.create_model("ViT-B-32", pretrained=None)
    if kind == "step":
        model.train()
        loss, opt = open_clip.ClipLoss(), torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
        x, t = torch.randn(B, 3, 224, 224), tokens(B)

        def f():
            opt.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bf16"):
                out = loss(*model(x, t))
            out.backward()
            opt.step()
        return f
    model = model.eval().to(dt)
    x, t = torch.randn(B, 3, 224, 224, dtype=dt), tokens(B)

    def f():
        with torch.inference_mode():
            model.encode_image(x) if kind == "image" else model.encode_text(t)
    return f


if "--one" in sys.argv:  # a process of its own: peak memory of one training step
    f = work("step b16", sys.argv[-1])
    f(), f()
    print(status_mb("VmHWM"))
    sys.exit()
for dtype in sys.argv[3:4] or TYPES:
    for row in sys.argv[4:] or ("image b1", "image b32", "text b1", "text b64", "step b16"):
        f, mine, theirs = work(row, dtype), [], []
        for _ in range(ROUNDS if row != "step b16" else max(3, ROUNDS // 2)):
            mine.append(ours(PROGRAM, row, "--seconds", "2", "--dtype", dtype)[-1])
            f()
            theirs.append(seconds(f, budget=2.0))
        cpu = [m["cpu_s"] for m in mine]
        out = {"row": row, "dtype": dtype, "rounds": len(cpu), "vismin_cpu_s": statistics.median(cpu), "torch_cpu_s": statistics.median(theirs),
               "ratio": round(statistics.median(t / c for t, c in zip(theirs, cpu)), 3)}
        if row == "step b16":
            out["vismin_peak_mb"] = mine[0]["peak_rss_mb"]
            out["torch_peak_mb"] = round(apart(PROGRAM, "1", "--one", dtype))
        print(json.dumps(out), flush=True)
        del f
