"""Checkpoints as torch.save writes them, for tests/test_pickle.c. Element i of every tensor is i/2 (integers: i) of its
storage, so that the test knows what must be read. Written with torch 2.15.0.

    python make.py"""
import os
from collections import OrderedDict

import torch

os.chdir(os.path.dirname(os.path.abspath(__file__)))


def half(n):
    return torch.arange(n, dtype=torch.float32) / 2


torch.save(OrderedDict(a=half(6).reshape(2, 3), b=half(4), scalar=torch.tensor(7.5), empty=torch.zeros(0, 5)), "plain.pt")
base = half(24)
torch.save({"whole": base, "transposed": base.reshape(4, 6).T, "rows": base.reshape(4, 6)[1:3], "columns": base.reshape(4, 6)[:, 2:4],
            "step": base[1::2], "cube": base.reshape(2, 3, 4).permute(2, 0, 1), "tied": base, "unit": base.reshape(4, 1, 6)[:, :, :1]}, "views.pt")
types = dict(f64=torch.float64, f16=torch.float16, bf16=torch.bfloat16, i64=torch.int64, i32=torch.int32, i16=torch.int16, i8=torch.int8, u8=torch.uint8)
torch.save({**{k: torch.arange(5).to(t) for k, t in types.items()}, "bool": torch.tensor([True, False, True])}, "types.pt")
linear = torch.nn.Linear(3, 2)
with torch.no_grad():
    linear.weight.copy_(half(6).reshape(2, 3))
    linear.bias.copy_(half(2))
optimizer = torch.optim.AdamW(linear.parameters())
linear(torch.ones(1, 3)).sum().backward()
optimizer.step()
with torch.no_grad():
    linear.weight.copy_(half(6).reshape(2, 3))
torch.save({"epoch": 3, "name": "run", "state_dict": {"module." + k: v for k, v in linear.state_dict().items()}, "optimizer": optimizer.state_dict(),
            "scaler": {"scale": 65536.0, "growth_tracker": -3, "big": 2**40}, "parameter": linear.weight}, "training.pt")
torch.save(linear.state_dict(), "protocol4.pt", pickle_protocol=4)
torch.save(linear.state_dict(), "old.pt", _use_new_zipfile_serialization=False)
torch.save({"w": half(2), "function": torch.relu}, "function.pt")
torch.jit.script(linear).save("script.pt")

# A whole CLIP with heads that only its configuration shows, as a training checkpoint of distributed training in OpenAI's
# mixture of types; and what open_clip makes of it.
import json  # noqa: E402

from open_clip.model import CLIP  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

config = dict(embed_dim=12, quick_gelu=True, vision_cfg=dict(image_size=16, layers=2, width=16, patch_size=8, head_width=8),
              text_cfg=dict(context_length=8, vocab_size=40, width=16, heads=2, layers=1))
json.dump(config, open("clip.json", "w"))
torch.manual_seed(1)
model = CLIP(config["embed_dim"], config["vision_cfg"], config["text_cfg"], quick_gelu=True).eval()
with torch.no_grad():
    for p in model.parameters():
        p.add_(0.1 * torch.randn_like(p))
        if p.ndim > 1:
            p.copy_(p.half())
state = {"module." + k: v.half() if v.ndim > 1 else v for k, v in model.state_dict().items()}
state["module.input_resolution"], state["module.context_length"], state["module.vocab_size"] = (torch.tensor(n) for n in (16, 8, 40))
torch.save({"epoch": 1, "name": "run", "state_dict": state, "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-5}]}}, "clip.pt")
pixels, ids = torch.randn(2, 3, 16, 16), torch.tensor([[38, 3, 5, 39, 0, 0, 0, 0], [38, 7, 1, 2, 9, 11, 4, 39], [38, 39, 0, 0, 0, 0, 0, 0]])
with torch.no_grad():
    out = dict(images=model.encode_image(pixels, normalize=True), texts=model.encode_text(ids, normalize=True))
save_file({"c/in.image": pixels, "c/in.text": ids.int(), "c/out.images": out["images"], "c/out.texts": out["texts"]}, "clip_case.safetensors", {"c/kind": "forward"})
