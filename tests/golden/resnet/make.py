#!/usr/bin/env python3
"""Writes the goldens of CLIP's ResNets beside this file (needs open_clip; not needed to test): random models of open_clip.

NAME/open_clip_config.json, open_clip_model.safetensors   the model as open_clip saves it
NAME/golden.safetensors   CASE/in.*, CASE/out.*, CASE/loss, CASE/grad.* as vismin forward reads and writes them. Of gradients of more than
                          64 elements every stride-th (stride.NAME), and gradstat.NAME = sums of g, |g|, the norm, sum of g[i] cos(0.37 i).
                          The strings tol.NAME are "rtol atol".
Cases: base (features and logits), clip (the contrastive loss with running statistics), train (the same in training mode: statistics of
the batch; state.NAME are the running ones after it).
"""
import copy
import json
import os
import shutil

import torch
from open_clip.loss import ClipLoss
from open_clip.model import CLIP
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
KEEP = 64
PREPROCESS = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711], "interpolation": "bicubic",
              "resize_mode": "shortest"}
MODELS = {
    "open_clip": dict(seed=1, batch=4, losses=("clip", "train"), embed_dim=12, quick_gelu=True, vision_cfg=dict(image_size=64, layers=[1, 2, 1, 1], width=4, head_width=32),
                      text_cfg=dict(context_length=12, vocab_size=40, width=16, heads=2, layers=2)),
    "open_clip_variant": dict(seed=2, batch=3, losses=("train",), embed_dim=10, vision_cfg=dict(image_size=96, layers=[2, 1, 1, 2], width=2, head_width=8),
                              text_cfg=dict(context_length=9, vocab_size=30, width=12, heads=3, layers=1)),
}


def randomise(model, seed):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for n, p in list(model.named_parameters()) + list(model.named_buffers()):
            if not p.is_floating_point() or n == "attn_mask" or n == "logit_scale":
                continue
            x = torch.randn(p.shape, generator=g)
            if n.endswith("running_var"):
                p.copy_(0.5 + x.abs())
            elif p.dim() == 4:
                p.copy_(x * (2 / p[0].numel()) ** 0.5)
            elif p.dim() == 2:
                p.copy_(x * (0.3 if "embedding" in n else p.shape[-1] ** -0.5))
            else:
                p.copy_(1 + 0.2 * x if n.endswith("weight") else 0.1 * x)
        for n, b in model.named_buffers():
            if n.endswith("num_batches_tracked"):
                b.fill_(7)


class Writer:
    def __init__(self):
        self.t, self.meta = {}, {}

    def put(self, name, t, tol=None):
        t = t.detach().contiguous()
        self.t[name] = t.reshape(1) if t.dim() == 0 else t.clone()
        if tol:
            self.meta["tol." + name] = "%g %g" % tol

    def grads(self, case, model):
        found = [(n, p.grad.detach().float()) for n, p in model.named_parameters()]
        floor = 1e-5 * max(float(g.pow(2).mean().sqrt()) for _, g in found)
        for n, g in found:
            tol = (1e-3, max(2e-3 * float(g.pow(2).mean().sqrt()), 1e-4 * float(g.abs().max()), floor, 1e-7))
            f = g.flatten().double()
            name = "%s/grad.%s" % (case, n)
            if f.numel() <= KEEP:
                self.put(name, g, tol)
                continue
            stride = -(-f.numel() // KEEP) | 1
            self.put(name, f[::stride].float(), tol)
            self.meta["stride." + name] = str(stride)
            i = torch.arange(f.numel(), dtype=torch.float64)
            self.put("%s/gradstat.%s" % (case, n), torch.stack([f.sum(), f.abs().sum(), f.norm(), (f * torch.cos(0.37 * i)).sum()]).float())


def inputs(w, case, pixels, ids):
    w.put(case + "/in.image", pixels.to(torch.int8))
    w.put(case + "/in.text", ids.int())


def main():
    for name, m in MODELS.items():
        out = os.path.join(HERE, name)
        shutil.rmtree(out, ignore_errors=True)
        os.makedirs(out)
        cfg = {k: v for k, v in m.items() if k not in ("seed", "batch", "losses")}
        with open(os.path.join(out, "open_clip_config.json"), "w") as f:
            json.dump({"model_cfg": cfg, "preprocess_cfg": PREPROCESS}, f, indent=1)
        model = CLIP(**copy.deepcopy(cfg), output_dict=True)
        randomise(model, m["seed"])
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, os.path.join(out, "open_clip_model.safetensors"),
                  metadata={"format": "pt"})
        g = torch.Generator().manual_seed(100 + m["seed"])
        S, T, V = cfg["vision_cfg"]["image_size"], cfg["text_cfg"]["context_length"], cfg["text_cfg"]["vocab_size"]
        B = m["batch"]
        pixels = torch.randint(-2, 3, (B, 3, S, S), generator=g).float()  # small in the file
        ids = torch.zeros(B, T, dtype=torch.long)
        for b, n in enumerate((T, 4, 6, 5)[:B]):
            ids[b, :n] = torch.randint(1, V - 2, (n,), generator=g)
            ids[b, 0], ids[b, n - 1] = V - 2, V - 1
        w = Writer()
        w.meta.update({"format": "2", "family": "open_clip", "base/kind": "forward"})
        model.eval()
        with torch.no_grad():
            o = model(pixels, ids)
        inputs(w, "base", pixels, ids)
        w.put("base/out.image_features", o["image_features"], (1e-4, 2e-4))
        w.put("base/out.text_features", o["text_features"], (1e-4, 2e-4))
        w.put("base/out.logits_per_image", o["logit_scale"] * o["image_features"] @ o["text_features"].T, (1e-3, 2e-3))
        for case in m["losses"]:
            model.train(case == "train")
            model.zero_grad()
            o = model(pixels, ids)
            loss = ClipLoss()(o["image_features"], o["text_features"], o["logit_scale"])
            loss.backward()
            inputs(w, case, pixels, ids)
            w.meta.update({case + "/kind": "loss", case + "/in.loss": "clip"})
            w.put(case + "/in.num_pairs", torch.tensor([B], dtype=torch.int32))
            w.put(case + "/loss", loss, (1e-5, 2e-5))
            w.grads(case, model)
            if case == "train":
                w.meta["train/in.mode"] = "train"
                for n, b in model.named_buffers():
                    if "running" in n or n.endswith("tracked"):
                        w.put("train/state." + n, b)
        save_file(w.t, os.path.join(out, "golden.safetensors"), metadata=w.meta)


main()
