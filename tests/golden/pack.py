#!/usr/bin/env python3
"""pack.py SRC DST [STRIDE [CASE...]] - a golden folder as the tests want it (needs numpy and safetensors; not needed to test).

SRC holds golden.safetensors, golden.json (for each tensor rtol, atol and perhaps a stride) and model/. DST gets the files of model/ but for
tokenizers, and golden.safetensors without intermediates, of all cases or of those named, whose metadata say tol.NAME = "rtol atol" and
stride.NAME. With a STRIDE above 1 gradients of more than 64 elements keep only every STRIDE-th, and sums of the whole (golden_check.h).
"""
import json
import os
import shutil
import sys

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

src, dst = sys.argv[1:3]
stride = int(sys.argv[3]) if len(sys.argv) > 3 else 1
doc = json.load(open(src + "/golden.json"))
about, made = doc["tensors"], {c["name"] for c in doc["cases"] if c["command"] == "forward"}
only = sys.argv[4:]
if os.path.isdir(src + "/adapter"): shutil.copytree(src + "/adapter", dst + "/adapter", dirs_exist_ok=True)
os.makedirs(dst, exist_ok=True)
for name in os.listdir(src + "/model"):
    if os.path.isdir(f"{src}/model/{name}"): shutil.copytree(f"{src}/model/{name}", f"{dst}/{name}", dirs_exist_ok=True)
    elif not name.startswith("tokenizer"): shutil.copy(f"{src}/model/{name}", f"{dst}/{name}")
with safe_open(src + "/golden.safetensors", "np") as f:
    tensors = {k: f.get_tensor(k) for k in f.keys() if "/mid." not in k and k.split("/")[0] in made and (not only or k.split("/")[0] in only)}
    meta = {k: v for k, v in f.metadata().items() if k.split("/")[0] in {n.split("/")[0] for n in tensors}}
for name in list(tensors):
    g = tensors[name].astype(np.float64).ravel()
    if stride > 1 and "/grad." in name and g.size > 64 and about[name].get("stride", 1) == 1:
        sums = [g.sum(), abs(g).sum(), np.sqrt((g * g).sum()), (g * np.cos(0.37 * np.arange(g.size))).sum()]
        tensors[name.replace("/grad.", "/gradstat.")] = np.array(sums, np.float32)
        tensors[name], about[name]["stride"] = tensors[name].ravel()[::stride].copy(), stride
for name in tensors:
    what = name.split("/", 1)[1]
    if what.startswith(("out.", "grad.", "gradin.", "loss")):
        meta["tol." + name] = "%g %g" % (about[name]["rtol"], about[name]["atol"])
        if about[name].get("stride", 1) != 1: meta["stride." + name] = str(about[name]["stride"])
save_file(tensors, dst + "/golden.safetensors", meta)
