"""From JPEG files to scores, and to training steps: `vismin eval` and `vismin train clip` beside open_clip with torch's data
loader, on the same pictures and random ViT-B/32 weights, all cores, wall time. A rate is the difference of a long and a short
run, so that starting and loading weights cost nobody. Rounds alternate; prints one JSON line a row with medians.

    data.py VISMIN [ROUNDS] [PAIRS] [eval|train]
"""
import json, os, shutil, statistics, subprocess, sys, tempfile, time

import numpy as np
import open_clip
import safetensors.torch
import torch
from PIL import Image

PROGRAM, ROUNDS, PAIRS = sys.argv[1], int((sys.argv + ["3"])[2]) if len(sys.argv) > 2 else 3, int(sys.argv[3]) if len(sys.argv) > 3 else 256
CORES = len(os.sched_getaffinity(0))


def make(out):
    torch.manual_seed(0)
    m = open_clip.create_model("ViT-B-32", pretrained=None)
    os.makedirs(out + "/model")
    tensors = {k: v.contiguous() for k, v in m.state_dict().items() if k != "attn_mask"}
    safetensors.torch.save_file(tensors, out + "/model/open_clip_model.safetensors")
    config = open_clip.get_model_config("ViT-B-32") | {"quick_gelu": False}
    stats = {"mean": list(open_clip.OPENAI_DATASET_MEAN), "std": list(open_clip.OPENAI_DATASET_STD)}
    json.dump({"model_cfg": config, "preprocess_cfg": stats}, open(out + "/model/open_clip_config.json", "w"))
    shutil.copy(os.path.dirname(open_clip.__file__) + "/bpe_simple_vocab_16e6.txt.gz", out + "/model/")
    r, rows, samples = np.random.default_rng(0), ["image_path,caption,edited_image_path,edited_caption,edit_id"], []
    for i in range(PAIRS):
        for part in ("original", "edited"):  # smooth colours with some noise, 640x480: sizes of files as of photographs
            os.makedirs(f"{out}/bench/{part}_images", exist_ok=True)
            a = Image.fromarray(r.integers(0, 255, (31, 41, 3), dtype=np.uint8)).resize((640, 480), Image.BICUBIC)
            a = np.clip(np.asarray(a).astype(int) + r.integers(-12, 12, (480, 640, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(a).save(f"{out}/bench/{part}_images/{i}.jpg", quality=90)
        rows.append(f"{i}.jpg,a photo of thing {i} on a table,{i}.jpg,a photo of thing {i} under a table,{i}")
        samples.append({"image_path": f"original_images/{i}.jpg", "caption": f"a photo of thing {i} on a table", "negatives": [
            {"edited_image_path": f"edited_images/{i}.jpg", "edited_caption": f"a photo of thing {i} under a table", "category": "relation"}]})
    open(out + "/bench/relation.csv", "w").write("\n".join(rows) + "\n")
    json.dump(samples, open(out + "/bench/train.json", "w"))
    return m


class Pictures(torch.utils.data.Dataset):
    def __init__(self, out, n, transform):
        self.files = [f"{out}/bench/{part}_images/{i}.jpg" for i in range(n) for part in ("original", "edited")]
        self.texts = [f"a photo of thing {i} {w} a table" for i in range(n) for w in ("on", "under")]
        self.transform = transform

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        return self.transform(Image.open(self.files[i]).convert("RGB")), self.texts[i]


def loader(out, n, transform, batch):
    return torch.utils.data.DataLoader(Pictures(out, n, transform), batch, num_workers=CORES, drop_last=False)


def their_eval(m, out, n):
    m.eval()
    tokenize, transform = open_clip.get_tokenizer("ViT-B-32"), open_clip.image_transform(224, is_train=False)
    start = time.perf_counter()
    with torch.inference_mode():
        for x, t in loader(out, n, transform, 64):
            i, c = m.encode_image(x, normalize=True), m.encode_text(tokenize(t), normalize=True)
            (i @ c.T).sum().item()
    return time.perf_counter() - start


def our_eval(out, n):
    start = time.perf_counter()
    subprocess.run([PROGRAM, "eval", out + "/model", "--data", out + "/bench", "--limit", str(n), "--dtype", "f32", "--activation", "gelu", "--quiet"],
                   check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def their_steps(m, out, n):
    m.train()
    tokenize = open_clip.get_tokenizer("ViT-B-32")
    transform = open_clip.image_transform(224, is_train=True, aug_cfg={"scale": (0.9, 1.0)})
    loss, opt = open_clip.ClipLoss(), torch.optim.AdamW(m.parameters(), lr=1e-6, fused=True)
    start = time.perf_counter()
    for x, t in loader(out, n, transform, 32):
        opt.zero_grad()
        loss(*m(x, tokenize(t))).backward()
        opt.step()
    return time.perf_counter() - start


def our_steps(out, n):
    run = tempfile.mkdtemp(dir=out)
    start = time.perf_counter()
    subprocess.run([PROGRAM, "train", "clip", "--data", out + "/bench/train.json", "--images", out + "/bench", "--init", out + "/model", "--batch", "32",
                    "--steps", str(2 * n // 32), "--save-every", "0", "--lr", "1e-6", "--dtype", "f32", "--activation", "gelu", "--out", run, "--quiet"],
                   check=True)
    wall = time.perf_counter() - start
    shutil.rmtree(run)
    return wall


with tempfile.TemporaryDirectory() as out:
    model = make(out)
    for row in sys.argv[4:] or ("eval", "train"):
        ours, theirs = ((our_eval, their_eval) if row == "eval" else (our_steps, their_steps))
        few, mine, other = PAIRS // 4 if row == "eval" else 32, [], []
        many = PAIRS if row == "eval" else 96
        for _ in range(ROUNDS):
            mine.append(2 * (many - few) / (ours(out, many) - ours(out, few)))
            other.append(2 * (many - few) / (theirs(model, out, many) - theirs(model, out, few)))
        print(json.dumps({"row": row + " from JPEG", "cores": CORES, "rounds": ROUNDS, "vismin_images_per_s": round(statistics.median(mine), 1),
                          "open_clip_images_per_s": round(statistics.median(other), 1),
                          "ratio": round(statistics.median(a / b for a, b in zip(mine, other)), 3)}), flush=True)
