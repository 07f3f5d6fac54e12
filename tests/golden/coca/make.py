#!/usr/bin/env python3
"""Writes the CoCa goldens beside this file (needs open_clip; not needed to test): random models in the layout of coca_ViT-B-32.

NAME/open_clip_config.json, open_clip_model.safetensors   with the captioning decoder, which the program leaves alone
NAME/golden.safetensors   as in ../blip/make.py: CASE/in.*, out.*, loss, grad.*, gradstat.*
Cases: base (padded texts), whole (texts without padding, as long as the context), mixed (id 0 inside texts, and texts shorter than the
context), and the contrastive loss, clip.
"""
import json
import os
import shutil
import sys

import torch
from open_clip.coca_model import CoCa
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../blip"))
from make import Writer  # noqa: E402

MODELS = {
    "open_clip": dict(embed_dim=16, vision_cfg=dict(image_size=24, layers=2, width=24, head_width=8, patch_size=8, attentional_pool=True,
                                                    attn_pooler_heads=4, attn_pooler_queries=5, output_tokens=True),
                      text_cfg=dict(context_length=9, vocab_size=40, width=16, heads=2, layers=2, embed_cls=True, output_tokens=True),
                      multimodal_cfg=dict(context_length=9, vocab_size=40, width=16, heads=2, layers=1, attn_pooler_heads=4), custom_text=True),
    "open_clip_variant": dict(embed_dim=20, quick_gelu=True, vision_cfg=dict(image_size=22, layers=1, width=20, head_width=5, mlp_ratio=2.0, patch_size=5,
                                                                             attentional_pool=True, attn_pooler_heads=2, output_tokens=True,
                                                                             attn_pooler_queries=3),
                              text_cfg=dict(context_length=12, vocab_size=30, width=12, heads=3, layers=1, embed_cls=True, output_tokens=True),
                              multimodal_cfg=dict(context_length=12, vocab_size=30, width=12, heads=3, layers=1), custom_text=True),
}


def case(w, name, model, images, texts, loss=False):
    model.zero_grad()
    i, t = model.encode_image(images), model.encode_text(texts)
    w.meta[name + "/kind"] = "loss" if loss else "forward"
    w.put(name + "/in.image", images)
    w.put(name + "/in.text", texts.int())
    w.put(name + "/out.image_features", i, (1e-4, 2e-5))
    w.put(name + "/out.text_features", t, (1e-4, 2e-5))
    if not loss:
        return
    w.meta[name + "/in.loss"] = "clip"
    w.put(name + "/in.num_pairs", torch.tensor([len(i)], dtype=torch.int32))
    s, target = model.logit_scale.exp() * i @ t.T, torch.arange(len(i))
    value = (torch.nn.functional.cross_entropy(s, target) + torch.nn.functional.cross_entropy(s.T, target)) / 2
    value.backward()
    w.put(name + "/loss", value, (1e-5, 1e-5))
    w.grads(name, model)


def main():
    for seed, (name, c) in enumerate(MODELS.items(), 1):
        out = os.path.join(HERE, name)
        shutil.rmtree(out, ignore_errors=True)
        os.makedirs(out)
        with open(os.path.join(out, "open_clip_config.json"), "w") as f:
            json.dump({"model_cfg": c, "preprocess_cfg": {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711],
                                                          "interpolation": "bicubic", "resize_mode": "shortest"}}, f, indent=2)
        model = CoCa(**{k: v for k, v in c.items() if k != "custom_text"}).eval()
        g = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for n, p in model.named_parameters():
                x = torch.randn(p.shape, generator=g)
                norm = "ln_" in n and n.endswith("weight")
                p.copy_(torch.tensor(1.5) if p.dim() == 0 else 1 + 0.2 * x if norm else 0.1 * x if "bias" in n else x * 1.2 / p.shape[-1] ** 0.5)
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, os.path.join(out, "open_clip_model.safetensors"))
        L, V, S = c["text_cfg"]["context_length"], c["text_cfg"]["vocab_size"], c["vision_cfg"]["image_size"]
        whole = torch.randint(1, V, (3, L), generator=g)
        padded, mixed = whole.clone(), whole.clone()
        for b, n in enumerate((4, L - 1, 2)):
            padded[b, n:] = 0
        mixed[:, 2], mixed[1, 0] = 0, 0
        images = torch.randn(3, 3, S, S, generator=g)
        w = Writer()
        w.meta.update(format="2", family="coca")
        case(w, "base", model, images, padded)
        case(w, "whole", model, images[:2], whole[:2])
        case(w, "mixed", model, images[:1], mixed[:, :L - 2])
        case(w, "clip", model, images, padded, loss=True)
        save_file(w.t, os.path.join(out, "golden.safetensors"), metadata=w.meta)


main()
