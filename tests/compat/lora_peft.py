"""Adapters between `vismin train clip --lora` and PEFT, both ways.

    python lora_peft.py VISMIN [WORK_DIR]

Trains a few steps of an adapter on the miniature world; PEFT must load RUN/adapter onto the same base without missing or
unexpected keys, and its features and those of `vismin convert --merge` must be those of PEFT's own merged model. Then PEFT
makes an adapter (rsLoRA, two kinds of modules), `vismin convert --merge` merges it, and the features must agree again.
Largest difference 1e-5. Needs torch, transformers, peft, safetensors; no network, no weights."""
import os
import subprocess
import sys
import tempfile
import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import CLIPModel

vismin = os.path.abspath(sys.argv[1])
work = sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp()
torch.manual_seed(1)
pixels, ids = torch.randn(3, 3, 64, 64), torch.randint(1, 40, (3, 12))


def run(*args):
    subprocess.run([vismin, *args], check=True, stdout=subprocess.DEVNULL)


def features(model, base_config):
    ids[:, -1] = base_config.text_config.eos_token_id
    out = model(input_ids=ids, pixel_values=pixels, attention_mask=torch.ones_like(ids))
    return torch.cat([out.image_embeds, out.text_embeds]).detach()


def close(name, a, b, far=None):
    d = (a - b).abs().max().item()
    print(f"{name}: largest difference {d:.2g}" + (f", the adapter moves features by {far:.2g}" if far else ""))
    assert d < 1e-5 and (far is None or far > 1e-3), name


run("train", "clip", "--data", "world:pairs", "--scratch", "world", "--out", f"{work}/base", "--batch", "4", "--steps", "1", "--quiet")
base_dir = f"{work}/base/model"
for name, options in {"all": ["--lora", "4,8"], "some": ["--lora", "3", "--lora-targets", "k_proj,fc2"]}.items():
    run("train", "clip", "--data", "world:pairs", "--init", base_dir, "--out", f"{work}/{name}", "--batch", "8", "--steps", "12", "--lr", "2e-2",
        "--warmup", "2", "--quiet", "--dtype", "f32", *options)
    run("convert", base_dir, f"{work}/{name}-merged", "--merge", f"{work}/{name}/adapter", "--quiet")
    base = CLIPModel.from_pretrained(base_dir).eval()
    before = features(base, base.config)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        peft = PeftModel.from_pretrained(base, f"{work}/{name}/adapter").eval()
    assert not any("missing" in str(w.message).lower() or "unexpected" in str(w.message).lower() for w in said), [str(w.message) for w in said]
    got = features(peft, base.config)
    merged = CLIPModel.from_pretrained(f"{work}/{name}-merged").eval()
    close(f"our adapter ({name}) in PEFT", got, features(merged, base.config), (got - before).abs().max().item())

base = CLIPModel.from_pretrained(base_dir).eval()
peft = get_peft_model(base, LoraConfig(r=5, lora_alpha=7, use_rslora=True, target_modules=["q_proj", "v_proj", "fc1"])).eval()
for n, p in peft.named_parameters():
    if "lora_B" in n:
        torch.nn.init.normal_(p, std=0.1)
peft.save_pretrained(f"{work}/theirs")
run("convert", base_dir, f"{work}/theirs-merged", "--merge", f"{work}/theirs", "--quiet")
merged = CLIPModel.from_pretrained(f"{work}/theirs-merged").eval()
close("PEFT's adapter in vismin", features(peft, base.config), features(merged, base.config))
