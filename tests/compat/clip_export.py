"""Folders written by `vismin convert` against the two libraries they are written for.

    python clip_export.py VISMIN [WORK_DIR]

Makes small CLIP models with open_clip (QuickGELU and GELU, one with a text tower of its own, one with heads that only a
configuration shows), saves them as bare weights, as a training checkpoint with the prefix of distributed training and an
optimizer, and in OpenAI's half precision with its scalars; converts each; then loads the folder with transformers and
open_clip and compares the logits of random input with those of `vismin forward` and of the original (difference at most
1e-5), and the vectors of pictures and texts with those of `vismin embed`. Needs torch, transformers, open_clip,
safetensors, pillow; no network, no weights."""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import open_clip
import torch
from open_clip.model import CLIP, CustomTextCLIP
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import CLIPModel

TOLERANCE = 1e-5


def make(custom=False, quick=True, head_width=64, vocab=300, context=16):
    vision = dict(image_size=48, layers=3, width=128, patch_size=16, head_width=head_width)
    text = dict(context_length=context, vocab_size=vocab, width=128, heads=2, layers=2)
    torch.manual_seed(3)
    cls = CustomTextCLIP if custom else CLIP
    model = cls(64, vision_cfg=vision, text_cfg=text, quick_gelu=quick).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn_like(p))
        model.logit_scale.fill_(3.0)
    config = dict(embed_dim=64, quick_gelu=quick, vision_cfg=vision, text_cfg=text)
    return model, config


def run(*args):
    r = subprocess.run(args, capture_output=True, text=True)
    if r.returncode:
        sys.exit(f"{' '.join(args)}\n{r.stderr}")
    return r.stderr


def compare(name, got, want, bad):
    d = float((got - want).abs().max())
    print(f"{'ok' if d <= TOLERANCE else 'FAIL'} {name}: difference {d:.2e}")
    bad.append(d > TOLERANCE)


def check(name, vismin, model, out, work, bad):
    torch.manual_seed(5)
    pixels = torch.randn(3, 3, 48, 48)
    ids = torch.randint(1, 298, (4, 16))
    for row, end in enumerate((3, 7, 11, 15)):
        ids[row, end] = 299
        ids[row, end + 1:] = 0
    with torch.no_grad():
        images, texts = model.encode_image(pixels, normalize=True), model.encode_text(ids, normalize=True)
        logits = model.logit_scale.exp() * images @ texts.T
    if os.path.exists(out + "/open_clip_config.json"):
        with torch.no_grad():
            other = open_clip.create_model("local-dir:" + out).eval()
            got = other.logit_scale.exp() * other.encode_image(pixels, normalize=True) @ other.encode_text(ids, normalize=True).T
        compare(name + " open_clip", got, logits, bad)
    if os.path.exists(out + "/config.json"):
        with torch.no_grad():
            got = CLIPModel.from_pretrained(out, attn_implementation="eager").eval()(input_ids=ids, pixel_values=pixels).logits_per_image
        compare(name + " transformers", got, logits, bad)
    save_file({"c/in.input_ids": ids, "c/in.pixel_values": pixels, "c/in.text": ids.clone(), "c/in.image": pixels.clone()}, work + "/in.safetensors", {"c/kind": "forward"})
    run(vismin, "forward", out, "--in", work + "/in.safetensors", "--out", work + "/out.safetensors")
    compare(name + " vismin", load_file(work + "/out.safetensors")["c/out.logits_per_image"], logits, bad)


def check_embed(vismin, work, bad):
    """Pictures and texts from files, through the vocabulary that open_clip carries."""
    model, _ = make(vocab=49408, context=77)
    torch.save(model.state_dict(), work + "/embed.pt")
    out = work + "/embed"
    run(vismin, "convert", work + "/embed.pt", out, "--act", "quick_gelu", "--tokenizer", os.path.dirname(open_clip.__file__))
    _, _, transform = open_clip.create_model_and_transforms("local-dir:" + out)
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    texts = ["a photo of a cat", "Two dogs & one   bird, on the left of a 3.5 m tree!", "caf\u00e9 na\u00efve", "word " * 120]
    files, pixels = [], []
    for k, size in enumerate(((48, 48), (100, 61), (33, 200), (640, 480))):
        image = Image.fromarray(np.random.default_rng(k).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
        files.append(f"{work}/{k}.png")
        image.save(files[-1])
        pixels.append(transform(image))
    with torch.no_grad():
        images = model.encode_image(torch.stack(pixels), normalize=True)
        words = model.encode_text(tokenizer(texts), normalize=True)
    run(vismin, "embed", out, *files, *sum((["--texts", t] for t in texts), []), "--out", work + "/v.safetensors", "--dtype", "f32")
    got = load_file(work + "/v.safetensors")
    compare("embed pictures", got["images"], images, bad)
    compare("embed texts", got["texts"], words, bad)


def main():
    vismin = os.path.abspath(sys.argv[1])
    work = sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp()
    os.makedirs(work, exist_ok=True)
    bad = []
    check_embed(vismin, work, bad)
    for name, kind, options in (
            ("bare", "bare", dict(quick=True)), ("gelu", "bare", dict(quick=False)), ("training", "training", dict(quick=True)),
            ("custom_text", "bare", dict(custom=True)), ("half", "openai", dict(quick=True)), ("heads", "bare", dict(head_width=32)),
            ("layout_hf", "bare", dict(quick=True)), ("layout_open_clip", "bare", dict(quick=True))):
        model, config = make(**options)
        path, out = f"{work}/{name}.pt", f"{work}/{name}"
        state = model.state_dict()
        if kind == "training":
            optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
            (model.encode_image(torch.randn(2, 3, 48, 48)).sum() + model.encode_text(torch.ones(2, 16, dtype=torch.long)).sum()).backward()
            optimizer.step()
            state = {"epoch": 1, "name": "run", "state_dict": {"module." + k: v for k, v in model.state_dict().items()},
                     "optimizer": optimizer.state_dict(), "scaler": {"scale": 65536.0, "growth_tracker": 3}}
        if kind == "openai":
            state = {k: v.half() if v.ndim > 1 and "embed" not in k and "ln_" not in k else v for k, v in state.items()}
            model.load_state_dict({k: v.float() for k, v in state.items()})
            state.update(input_resolution=torch.tensor(48), context_length=torch.tensor(16), vocab_size=torch.tensor(300))
        torch.save(state, path)
        more = []
        if options.get("head_width"):
            json.dump(config, open(f"{work}/{name}.json", "w"))
            more = ["--arch", f"{work}/{name}.json"]
        else:
            more = ["--act", "quick_gelu" if options.get("quick", True) else "gelu"]
        if name.startswith("layout_"):
            more += ["--layout", name[7:]]
        run(vismin, "convert", path, out, *more)
        check(name, vismin, model, out, work, bad)
        weights = out + ("/model.safetensors" if name != "layout_open_clip" else "/open_clip_model.safetensors")
        with safe_open(weights, "pt") as f:
            meta = f.metadata()
        sha = subprocess.run(["sha256sum", path], capture_output=True, text=True).stdout.split()[0]
        same = meta["source_sha256"] == sha and meta["activation"] == ("quick_gelu" if options.get("quick", True) else "gelu")
        print(f"{'ok' if same else 'FAIL'} {name} metadata")
        bad.append(not same)
        if name == "bare":  # folders again, and any checkpoint as it is
            run(vismin, "convert", out, work + "/again")
            check("folder", vismin, model, work + "/again", work, bad)
            views = {"a": {"t": torch.arange(12.).reshape(3, 4).T, "b": torch.arange(5).bfloat16()}, "h": torch.ones(2, 2).half()[1:]}
            torch.save(views, work + "/views.pt")
            run(vismin, "convert", work + "/views.pt", work + "/views.safetensors")
            got = load_file(work + "/views.safetensors")
            same = all(torch.equal(got[k], v) and got[k].dtype == v.dtype
                       for k, v in (("a.t", views["a"]["t"]), ("a.b", views["a"]["b"]), ("h", views["h"])))
            print(f"{'ok' if same else 'FAIL'} any checkpoint")
            bad.append(not same)
    sys.exit(any(bad))


main()
