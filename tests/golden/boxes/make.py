"""make.py - random boxes, found boxes, and what pycocotools says of them: truth.json, found.json, expected.json.

    pip install pycocotools && python tests/golden/boxes/make.py

Sizes of all three kinds, crowds, equal scores, areas that are not width x height, more than 100 found boxes of one phrase, pictures
and phrases without annotations or without results.
"""
import contextlib, io, json, os
import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

here = os.path.dirname(os.path.abspath(__file__))
r = np.random.default_rng(7)
images = [{"id": i * 3 + 1, "file_name": f"{i}.png", "width": 320, "height": 240} for i in range(24)]
categories = [{"id": c, "name": n} for c, n in [(2, "a cup"), (5, "a dog"), (9, "a red kite"), (11, "nothing")]]
truth, found = [], []


def box(size):
    w, h = r.uniform(*size, 2)
    return [round(float(x), 1) for x in (r.uniform(0, 320 - w), r.uniform(0, 240 - h), w, h)]


for im in images[:22]:
    for c in (2, 5, 9):
        for _ in range(r.integers(0, 4)):
            b = box([(6, 30), (30, 90), (90, 200)][r.integers(3)])
            truth.append({"id": len(truth) + 1, "image_id": im["id"], "category_id": c, "bbox": b,
                          "area": round(b[2] * b[3] * float(r.uniform(.5, 1)), 2), "iscrowd": int(r.random() < .1)})
for t in truth:
    for _ in range(r.integers(0, 3)):
        b = [round(float(max(x + r.normal() * .08 * max(t["bbox"][2:]), 1)), 1) for x in t["bbox"]]
        found.append({"image_id": t["image_id"], "category_id": t["category_id"], "bbox": b, "score": round(float(r.uniform(.2, 1)), 2)})
for _ in range(150):
    found.append({"image_id": images[r.integers(24)]["id"], "category_id": [2, 5, 9, 11][r.integers(4)], "bbox": box((5, 120)),
                  "score": round(float(r.uniform(0, .6)), 2)})
for _ in range(130):
    found.append({"image_id": 1, "category_id": 2, "bbox": box((5, 90)), "score": round(float(r.uniform(0, .95)), 2)})
order = r.permutation(len(found))
found = [found[i] for i in order]
for name, x in ("truth", {"images": images, "categories": categories, "annotations": truth}), ("found", found):
    json.dump(x, open(f"{here}/{name}.json", "w"), separators=(",", ":"))

with contextlib.redirect_stdout(io.StringIO()):
    gt = COCO(f"{here}/truth.json")
    e = COCOeval(gt, gt.loadRes(f"{here}/found.json"), "bbox")
    e.evaluate(), e.accumulate(), e.summarize()
names = ["AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large"]
p = e.eval["precision"]  # overlaps, recalls, categories, sizes, cuts
each = {c["name"]: None if (p[:, :, k, 0, 2] < 0).all() else float(p[:, :, k, 0, 2].mean()) for k, c in enumerate(categories)}
json.dump({"all": dict(zip(names, map(float, e.stats))), "AP_of": each}, open(f"{here}/expected.json", "w"), indent=1)
