#!/usr/bin/env python3
"""Writes the BERT goldens beside this file (needs transformers; not needed to test): random BertModels.

hf/   names as transformers writes them: two segments, padding, position ids of their own
old/  names of very old files ("bert." in front, LayerNorm.gamma and .beta), no pooler
NAME/golden.safetensors holds CASE/in.*, CASE/out.*; the strings tol.NAME are "rtol atol".
"""
import os
import shutil

import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

HERE = os.path.dirname(os.path.abspath(__file__))


def case(t, meta, name, model, ids, pooler, **more):
    with torch.no_grad():
        o = model(input_ids=ids, **more)
    mask = more.get("attention_mask", torch.ones_like(ids)).float()
    mean = (o.last_hidden_state * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    meta[name + "/kind"] = "forward"
    t[name + "/in.input_ids"] = ids.int()
    for k, v in more.items():
        t["%s/in.%s" % (name, k)] = v.int()
    outs = {"last_hidden_state": o.last_hidden_state, "sentence_embedding": torch.nn.functional.normalize(mean, dim=1)}
    if pooler:
        outs["pooler_output"] = o.pooler_output
    for k, v in outs.items():
        t["%s/out.%s" % (name, k)] = v.contiguous()
        meta["tol.%s/out.%s" % (name, k)] = "1e-4 1e-4"


def main():
    for name, seed in (("hf", 1), ("old", 2)):
        out = os.path.join(HERE, name)
        shutil.rmtree(out, ignore_errors=True)
        c = BertConfig(vocab_size=30 + seed, hidden_size=12 * seed, intermediate_size=20, num_hidden_layers=3 - seed, num_attention_heads=3 * seed,
                       max_position_embeddings=14, type_vocab_size=4 - seed, layer_norm_eps=1e-12 if seed == 1 else 1e-5)
        model = BertModel._from_config(c, attn_implementation="eager").eval()
        g = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for n, p in model.named_parameters():
                x = torch.randn(p.shape, generator=g)
                p.copy_(1 + 0.2 * x if "LayerNorm.weight" in n else 0.3 * x)
        model.save_pretrained(out)
        ids = torch.randint(1, c.vocab_size, (3, 8), generator=g)
        mask = torch.ones_like(ids)
        mask[0, 5:], mask[2, 2:] = 0, 0
        kinds = torch.randint(0, c.type_vocab_size, ids.shape, generator=g)
        t, meta = {}, {"format": "2", "family": "bert"}
        case(t, meta, "plain", model, ids, name == "hf")
        case(t, meta, "padded", model, ids, name == "hf", attention_mask=mask, token_type_ids=kinds)
        case(t, meta, "placed", model, ids, name == "hf", position_ids=torch.randint(0, 14, ids.shape, generator=g))
        save_file(t, os.path.join(out, "golden.safetensors"), metadata=meta)
        if name == "old":
            path = os.path.join(out, "model.safetensors")
            w = {"bert." + k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v
                 for k, v in load_file(path).items() if "pooler" not in k}
            w["bert.embeddings.position_ids"] = torch.arange(14)[None]
            save_file(w, path, metadata={"format": "pt"})


main()
