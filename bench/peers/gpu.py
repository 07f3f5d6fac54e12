"""The work of bench/gpu.c in torch on the same device: cuBLAS and cuDNN, scaled_dot_product_attention, channels_last
convolutions, and torch.compile of open_clip's ViT-B/32. One JSON line a row; with the file that bench/gpu.c wrote also
our time and the ratio (above 1: we are slower).

    gpu.py [DEVICE] [OURS.jsonl]
"""
import json, sys

import torch
import torch.nn.functional as F

DEVICE = sys.argv[1] if len(sys.argv) > 1 else "cuda:0"
OURS = {}
if len(sys.argv) > 2:
    for line in open(sys.argv[2]):
        r = json.loads(line)
        if r.get("us") and r["family"] != "cublaslt":
            OURS.setdefault((r["name"], r["dtype"]), []).append(r["us"])  # inference first, then training
TYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
torch.manual_seed(0)
torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # f32 means f32, as in our rows
torch.backends.cudnn.benchmark = True


def us(f, runs=20, repeats=20):
    """Least time of a run: a captured CUDA graph where the work can be captured, as ours."""
    for _ in range(3):
        f()
    torch.cuda.synchronize()
    try:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            f()
        g = graph.replay
    except RuntimeError:
        g = f
    best = float("inf")
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    for _ in range(repeats):
        begin.record()
        for _ in range(runs):
            g()
        end.record()
        end.synchronize()
        best = min(best, 1e3 * begin.elapsed_time(end) / runs)
    return best


def row(name, dtype, training, forward, inputs):
    """forward(*inputs); training: with gradients of all inputs that are floats."""
    wrt = [x for x in inputs if x.is_floating_point()]
    for x in wrt:
        x.requires_grad_(training)

    def f():
        y = forward(*inputs)
        if training:
            torch.autograd.grad(y, wrt, torch.ones_like(y))

    with torch.set_grad_enabled(training):
        t = us(f)
    out = {"program": "torch " + torch.__version__, "section": "gpu", "name": name, "dtype": dtype, "training": training, "us": round(t, 3)}
    mine = OURS.get((name, dtype), [])
    if len(mine) > int(training):
        out["ours_us"], out["ratio"] = mine[int(training)], round(mine[int(training)] / t, 3)
    print(json.dumps(out), flush=True)


def rand(*shape, dtype=torch.float32):
    return torch.randn(*shape, device=DEVICE, dtype=dtype)


def attention(B, T, NH, HS, causal):
    def f(qkv):
        q, k, v = (x.view(B, T, NH, HS).transpose(1, 2) for x in qkv.split(NH * HS, 2))
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2).reshape(B, T, NH * HS)
    return f


LINEAR = [("mlp 64x50x768 to 3072 gelu", 3200, 768, 3072, True), ("mlp 64x50x3072 to 768", 3200, 3072, 768, False),
          ("qkv 32x257x1024 to 3072", 8224, 1024, 3072, False), ("4096x4096x4096", 4096, 4096, 4096, False)]
ATTENTION = [("pictures 64x50x12x64", 64, 50, 12, 64, False), ("pictures 32x257x16x64", 32, 257, 16, 64, False),
             ("texts 64x77x8x64 causal", 64, 77, 8, 64, True), ("long 2x4096x32x128 causal", 2, 4096, 32, 128, True)]
CONV = [("rn50 3x3 56x64", 32, 56, 64, 64, 3, 1, 1), ("rn50 3x3 14x256", 32, 14, 256, 256, 3, 1, 1), ("unet 3x3 64x320", 4, 64, 320, 320, 3, 1, 1),
        ("unet 3x3/2 32x640", 4, 32, 640, 640, 3, 2, 1), ("depthwise 7x7 56x96", 32, 56, 96, 96, 7, 1, 96)]


def clip(dtype):
    import open_clip
    model = open_clip.create_model("ViT-B-32", pretrained=None).to(DEVICE, TYPES[dtype]).eval()
    x, t = rand(64, 3, 224, 224, dtype=TYPES[dtype]), torch.randint(0, 49406, (64, 77), device=DEVICE)
    for compiled in (False, True):
        image = torch.compile(model.encode_image) if compiled else model.encode_image
        text = torch.compile(model.encode_text) if compiled else model.encode_text
        how = " compiled" if compiled else ""
        row("clip ViT-B/32 image b64" + how, dtype, False, image, [x])
        row("clip ViT-B/32 text b64" + how, dtype, False, text, [t])


for dtype, dt in TYPES.items():
    for training in (False, True):
        for name, M, K, N, gelu in LINEAR:
            if gelu:
                row(name, dtype, training, lambda x, w, b: F.gelu(F.linear(x, w, b)), [rand(M, K, dtype=dt), rand(N, K, dtype=dt), rand(N, dtype=dt)])
            else:
                row(name, dtype, training, F.linear, [rand(M, K, dtype=dt), rand(N, K, dtype=dt)])
        for name, B, T, NH, HS, causal in ATTENTION:
            row(name, dtype, training, attention(B, T, NH, HS, causal), [rand(B, T, 3 * NH * HS, dtype=dt)])
        for name, B, H, C, N, k, stride, groups in CONV:
            x, w = rand(B, C, H, H, dtype=dt), rand(N, C // groups, k, k, dtype=dt)
            x, w = x.to(memory_format=torch.channels_last), w.to(memory_format=torch.channels_last)
            row(name, dtype, training, lambda x, w: F.conv2d(x, w, stride=stride, padding=k // 2, groups=groups), [x, w])
        row("layernorm 16448x1024", dtype, training, lambda x, w, b: F.layer_norm(x, (1024,), w, b), [rand(16448, 1024, dtype=dt), rand(1024, dtype=dt), rand(1024, dtype=dt)])
        row("groupnorm 4x64x64x320 silu", dtype, training, lambda x, w, b: F.silu(F.group_norm(x, 32, w, b)),
            [rand(4, 320, 64, 64, dtype=dt).to(memory_format=torch.channels_last), rand(320, dtype=dt), rand(320, dtype=dt)])
        row("swiglu 8192x11008", dtype, training, lambda v, g: v * F.silu(g), [rand(8192, 11008, dtype=dt), rand(8192, 11008, dtype=dt)])
        row("gelu 16448x4096", dtype, training, F.gelu, [rand(16448, 4096, dtype=dt)])
        row("softmax 16384x1024", dtype, training, lambda x: F.softmax(x, -1), [rand(16384, 1024, dtype=dt)])
    clip(dtype)
