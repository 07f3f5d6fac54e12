"""What `vismin train lm` writes, in the libraries it is written for.

    python lm_train.py VISMIN

Trains a small model on texts of the miniature world, then adapters of it (LoRA, DoRA); loads the folder with transformers' AutoModelForCausalLM and
AutoTokenizer and the adapters with PEFT, and compares the likeliest answers to prompts, token by token, and their token ids, with those of
`vismin generate` and `vismin tokenize`. Needs torch, transformers, peft; no network, no weights."""
import json
import os
import subprocess
import sys
import tempfile

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

vismin = sys.argv[1]
work = tempfile.mkdtemp()
bad = []


def run(*args, stdin=None):
    r = subprocess.run([vismin, *args], input=stdin, capture_output=True, text=True)
    if r.returncode:
        sys.exit(f"{' '.join(args)}\n{r.stderr}")
    return r.stdout


def verdict(name, good, more=""):
    print(f"{'ok' if good else 'FAIL'} {name}{more}")
    bad.append(not good)


texts, base = f"{work}/texts", f"{work}/run/model"
common = ["--dtype", "f32", "--threads", "1", "--quiet"]
run("scene", "--out", texts, "--texts", "3000", "--split", "train", "--model", "--quiet")
data = ["--data", f"{texts}/texts.jsonl", "--batch", "16", *common]
run("train", "lm", *data, "--init-config", f"{texts}/model", "--steps", "150", "--lr", "2e-3", "--out", f"{work}/run")
for kind in ("lora", "dora"):
    run("train", "lm", *data, "--init", base, "--lora", "4,8", *(["--dora"] if kind == "dora" else []), "--steps", "20", "--lr", "5e-3", "--out", f"{work}/{kind}")

prompts = [json.loads(line)["prompt"] for line in open(f"{texts}/texts.jsonl")][:12]
tokenizer = AutoTokenizer.from_pretrained(base)
ours = [json.loads(line) for line in run("tokenize", base, stdin="".join(json.dumps(p) + "\n" for p in prompts)).splitlines()]
verdict("token ids", ours == [tokenizer(p)["input_ids"] for p in prompts])
with open(f"{work}/prompts.jsonl", "w") as f:
    f.writelines(json.dumps({"prompt": p}) + "\n" for p in prompts)


def answers(model):
    out = []
    for p in prompts:
        ids = tokenizer(p, return_tensors="pt").input_ids
        made = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, do_sample=False)
        out.append(tokenizer.decode(made[0][ids.shape[1]:], skip_special_tokens=True, clean_up_tokenization_spaces=False))
    return out


for kind in ("model", "lora", "dora"):
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    more = []
    if kind != "model":
        model, more = PeftModel.from_pretrained(model, f"{work}/{kind}/adapter"), ["--adapter", f"{work}/{kind}/adapter"]
    got = [json.loads(line)["text"] for line in run("generate", base, "--prompts", f"{work}/prompts.jsonl", "--temperature", "0", "--max-new", "40", *more, *common).splitlines()]
    want = answers(model.eval())
    verdict(kind, got == want, f": {sum(a == b for a, b in zip(got, want))} of {len(want)} answers are the same")
sys.exit(any(bad))
