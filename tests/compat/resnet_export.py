"""ResNets written by `vismin convert` and `vismin train clip` against open_clip, for which they are written.

    python resnet_export.py VISMIN [WORK_DIR]

Makes a small CLIP with a ResNet, saves it as bare weights, as a training checkpoint with the prefix of distributed training,
and in OpenAI's half precision; converts each; loads the folder with open_clip and compares the tensors, the logits of random
input with those of `vismin forward` and of the original, and the vectors of a picture with those of `vismin embed`. Then three
steps of training: open_clip loads what they leave and computes what vismin computes with it. Needs torch, open_clip,
safetensors, pillow; no network, no weights."""
import os
import subprocess
import sys
import tempfile

import numpy as np
import open_clip
import torch
from open_clip.model import CLIP
from PIL import Image
from safetensors.torch import load_file, save_file

TOLERANCE = 1e-5


def make():
    torch.manual_seed(3)
    model = CLIP(32, vision_cfg=dict(image_size=64, layers=[1, 2, 1, 1], width=4), quick_gelu=True,
                 text_cfg=dict(context_length=77, vocab_size=49408, width=64, heads=1, layers=2)).eval()
    with torch.no_grad():
        for n, p in list(model.named_parameters()) + list(model.named_buffers()):
            if n.endswith("running_var"):
                p.copy_(0.5 + torch.rand_like(p))
            elif n.endswith("num_batches_tracked"):
                p.fill_(11)
            elif p.is_floating_point() and n != "attn_mask":
                p.add_(0.05 * torch.randn_like(p))
        model.logit_scale.fill_(3.0)
    return model


def run(*args):
    r = subprocess.run(args, capture_output=True, text=True)
    if r.returncode:
        sys.exit(f"{' '.join(args)}\n{r.stderr}")
    return r.stderr


def verdict(good, text, bad):
    print(f"{'ok' if good else 'FAIL'} {text}")
    bad.append(not good)


def compare(name, got, want, bad):
    d = float((got - want).detach().abs().max())
    verdict(d <= TOLERANCE, f"{name}: difference {d:.2e}", bad)


def check(name, vismin, model, out, work, bad):
    """model: the original, or None when only the folder is at hand."""
    torch.manual_seed(5)
    pixels, ids = torch.randn(3, 3, 64, 64), torch.randint(1, 49400, (4, 77))
    for row, end in enumerate((3, 7, 40, 76)):
        ids[row, end:] = 0
        ids[row, end] = 49407
    again = open_clip.create_model("local-dir:" + out).eval()
    with torch.no_grad():
        o, w = again(pixels, ids), model(pixels, ids) if model else None
    features = o if isinstance(o, tuple) else (o["image_features"], o["text_features"], o["logit_scale"])
    logits = features[2] * features[0] @ features[1].T
    if model:
        same = all(torch.equal(v, model.state_dict()[k]) and v.dtype == model.state_dict()[k].dtype for k, v in again.state_dict().items())
        verdict(same and len(again.state_dict()) == len(model.state_dict()), name + " tensors", bad)
        compare(name + " open_clip", logits, w[2] * w[0] @ w[1].T, bad)
    save_file({"c/in.text": ids, "c/in.image": pixels}, work + "/in.safetensors", {"c/kind": "forward"})
    run(vismin, "forward", out, "--in", work + "/in.safetensors", "--out", work + "/out.safetensors")
    compare(name + " vismin", load_file(work + "/out.safetensors")["c/out.logits_per_image"], logits, bad)


def main():
    vismin = os.path.abspath(sys.argv[1])
    work = sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp()
    os.makedirs(work, exist_ok=True)
    bad = []
    model = make()
    half = {k: v.half() if v.is_floating_point() and v.ndim > 1 and "embed" not in k else v for k, v in model.state_dict().items()}
    half.update(input_resolution=torch.tensor(64), context_length=torch.tensor(77), vocab_size=torch.tensor(49408))
    states = {"bare": model.state_dict(), "half": half,
              "training": {"epoch": 1, "state_dict": {"module." + k: v for k, v in model.state_dict().items()}}}
    for name, state in states.items():
        torch.save(state, f"{work}/{name}.pt")
        run(vismin, "convert", f"{work}/{name}.pt", f"{work}/{name}", "--act", "quick_gelu", "--tokenizer", os.path.dirname(open_clip.__file__))
        original = make()
        if name == "half":
            original.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in half.items() if k in model.state_dict()})
        check(name, vismin, original, f"{work}/{name}", work, bad)
    _, _, transform = open_clip.create_model_and_transforms("local-dir:" + work + "/bare")
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (90, 133, 3), dtype=np.uint8))
    image.save(work + "/p.png")
    run(vismin, "embed", work + "/bare", work + "/p.png", "--out", work + "/v.safetensors", "--dtype", "f32")
    with torch.no_grad():
        want = model.encode_image(transform(image)[None], normalize=True)
    compare("embed picture", load_file(work + "/v.safetensors")["images"], want, bad)
    run(vismin, "train", "clip", "--data", "world:pairs", "--init", work + "/bare", "--batch", "8", "--steps", "3", "--lr", "1e-3", "--warmup", "0",
        "--out", work + "/run", "--dtype", "f32")
    trained = load_file(work + "/run/model/open_clip_model.safetensors")
    moved = [k for k, v in model.state_dict().items() if torch.equal(v, trained[k])]
    verdict(not moved and trained["visual.bn1.num_batches_tracked"].item() == 14, f"training moves every tensor, statistics too {moved[:3]}", bad)
    check("trained", vismin, None, work + "/run/model", work, bad)
    sys.exit(any(bad))


main()
