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
