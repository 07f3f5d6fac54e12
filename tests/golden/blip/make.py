#!/usr/bin/env python3
"""Writes the BLIP goldens beside this file (needs transformers; not needed to test): random BlipForImageTextRetrieval models.

NAME/config.json, model.safetensors   the model as transformers saves it
NAME/golden.safetensors               CASE/in.*, CASE/out.*, CASE/loss, CASE/grad.* as vismin forward reads and writes them. Of gradients
                                      of more than 64 elements every stride-th (stride.NAME), and gradstat.NAME = sums of g, |g|, the
                                      norm, sum of g[i] cos(0.37 i). The strings tol.NAME are "rtol atol".
hf/vocab.txt, tokenizer_config.json, preprocessor_config.json, and hf/itc.csv, itm.csv: scores of ../scene by transformers, as vismin eval
                                      writes them to predictions.csv (itm: the difference of the two numbers)
Cases: itm (pairs, padded texts), itc (every picture with every text), nomask (no attention_mask), and the losses itm_loss, itc_loss:
mean(itm_score * in.weight.itm_score).
"""
import csv
import glob
import json
import os
import shutil

import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import BertTokenizer, BlipConfig, BlipForImageTextRetrieval
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

HERE = os.path.dirname(os.path.abspath(__file__))
KEEP = 64
MODELS = {
    "hf": dict(seed=1, embed=12, text=dict(vocab_size=60, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                                           max_position_embeddings=16, layer_norm_eps=1e-12),
               vision=dict(hidden_size=32, intermediate_size=56, num_hidden_layers=2, num_attention_heads=2, image_size=24, patch_size=8)),
    "hf_variant": dict(seed=2, embed=20, text=dict(vocab_size=44, hidden_size=36, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3,
                                                   max_position_embeddings=40, layer_norm_eps=1e-6, hidden_act="gelu_new", pad_token_id=3),
                       vision=dict(hidden_size=24, intermediate_size=40, num_hidden_layers=1, num_attention_heads=4, image_size=22, patch_size=5,
                                   layer_norm_eps=1e-3, hidden_act="quick_gelu")),
}


class Writer:
    def __init__(self):
        self.t, self.meta = {}, {}

    def put(self, name, t, tol=None):
        t = t.detach().contiguous()
        self.t[name] = t.reshape(1) if t.dim() == 0 else t.clone()
        if tol:
            self.meta["tol." + name] = "%g %g" % tol

    def grads(self, case, model):
        found = [(n, p.grad.detach().float()) for n, p in model.named_parameters() if p.grad is not None]
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


def randomise(model, seed):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for n, p in model.named_parameters():
            x = torch.randn(p.shape, generator=g)
            norm = "LayerNorm.weight" in n or "layer_norm" in n and "weight" in n or "layernorm.weight" in n
            p.copy_(1 + 0.2 * x if norm else 0.1 * x if p.dim() < 2 else x * (1.5 / p.shape[-1] ** 0.5 if "proj" in n or "dense" in n or "qkv" in n else 0.3))


def case(w, name, model, ids, mask, pixels, itm, weight=None):
    args = dict(input_ids=ids, pixel_values=pixels, use_itm_head=itm)
    if mask is not None:
        args["attention_mask"] = mask
    model.zero_grad()
    o = model(**args)
    w.meta[name + "/kind"] = "forward" if weight is None else "loss"
    w.put(name + "/in.input_ids", ids.int())
    w.put(name + "/in.pixel_values", pixels)
    if mask is not None:
        w.put(name + "/in.attention_mask", mask.int())
    w.put(name + "/in.use_itm_head", torch.tensor([int(itm)], dtype=torch.int32))
    w.put(name + "/out.itm_score", o.itm_score, (1e-4, 2e-4))
    if weight is None:
        w.put(name + "/out.last_hidden_state", o.last_hidden_state, (1e-4, 2e-4))
        return
    w.meta[name + "/in.loss"] = "weighted_mean"
    w.put(name + "/in.weight.itm_score", weight)
    loss = (o.itm_score * weight).mean()
    loss.backward()
    w.put(name + "/loss", loss, (1e-5, 1e-5))
    w.grads(name, model)


WORDS = """[PAD] [UNK] [CLS] [SEP] [MASK] a small large orange tree yellow moon and blue cup on snow white four red fish purple one three mushroom
##s two black dotted house ball above green car flower right left of striped below box grass sand ice""".split()


def scores(model, out):
    vocab = WORDS + ["[unused%d]" % i for i in range(model.config.text_config.vocab_size - len(WORDS))]
    with open(os.path.join(out, "vocab.txt"), "w") as f:
        f.write("\n".join(vocab) + "\n")
    with open(os.path.join(out, "tokenizer_config.json"), "w") as f:
        json.dump({"do_lower_case": True, "tokenizer_class": "BertTokenizer"}, f)
    tok = BertTokenizer(vocab={w: i for i, w in enumerate(vocab)}, do_lower_case=True)
    S = model.config.vision_config.image_size
    images = BlipImageProcessorPil(size={"height": S, "width": S})
    with open(os.path.join(out, "preprocessor_config.json"), "w") as f:
        json.dump({**{k: v for k, v in images.to_dict().items() if k.startswith(("do_", "image_", "rescale", "resample", "size"))},
                   "image_processor_type": "BlipImageProcessor"}, f, default=int)
    rows = []
    for path in sorted(glob.glob(os.path.join(HERE, "../scene/*.csv"))):
        rows += [dict(r, split=os.path.basename(path)[:-4]) for r in csv.DictReader(open(path))]
    for head in ("itc", "itm"):
        with open(os.path.join(out, head + ".csv"), "w") as f:
            for r in rows:
                pictures = [Image.open(os.path.join(HERE, "../scene", d, r[k])).convert("RGB")
                            for d, k in (("original_images", "image_path"), ("edited_images", "edited_image_path"))]
                pixels = images(pictures, return_tensors="pt")["pixel_values"]
                line = [r["edit_id"]]
                for caption in (r["caption"], r["edited_caption"]):
                    ids = tok([caption] * 2, return_tensors="pt")
                    with torch.no_grad():
                        y = model(input_ids=ids["input_ids"], attention_mask=ids["attention_mask"], pixel_values=pixels, use_itm_head=head == "itm").itm_score
                    line += ["%.7g" % float(v) for v in (y[:, 1] - y[:, 0] if head == "itm" else y[:, 0])]
                f.write(",".join(line) + "\n")


def main():
    for name, m in MODELS.items():
        out = os.path.join(HERE, name)
        shutil.rmtree(out, ignore_errors=True)
        c = BlipConfig(text_config=m["text"], vision_config=m["vision"], image_text_hidden_size=m["embed"])
        model = BlipForImageTextRetrieval._from_config(c, attn_implementation="eager").eval()
        randomise(model, m["seed"])
        model.save_pretrained(out)
        g = torch.Generator().manual_seed(100 + m["seed"])
        pad, V, S = c.text_config.pad_token_id, c.text_config.vocab_size, c.vision_config.image_size
        ids = torch.randint(4, V, (4, 9), generator=g)
        mask = torch.ones_like(ids)
        for b, n in enumerate((9, 4, 7, 2)):
            ids[b, n:], mask[b, n:] = pad, 0
        pixels = torch.randn(4, 3, S, S, generator=g)
        w = Writer()
        w.meta.update(format="2", family="blip")
        case(w, "itm", model, ids, mask, pixels, True)
        case(w, "itc", model, ids[:3], mask[:3], pixels, False)
        case(w, "nomask", model, ids[:2], None, pixels[:2], True)
        case(w, "itm_loss", model, ids, mask, pixels, True, torch.randn(4, 2, generator=g))
        if name == "hf":
            case(w, "itc_loss", model, ids[:3], mask[:3], pixels, False, torch.randn(4, 3, generator=g))
        if name == "hf":
            scores(model, out)
        save_file(w.t, os.path.join(out, "golden.safetensors"), metadata=w.meta)


if __name__ == "__main__":
    main()
