"""What `vismin train clip` reads and writes, against the libraries that write and read the same.

    python train_files.py VISMIN [WORK_DIR]

Data: records that numpy.save wrote (with NumPy's own numbers among them), shards of Python's tarfile in its three formats.
Results: the event file of a training that was stopped and went on, read by TensorBoard's EventAccumulator: every tag, no step
twice, the values of log.jsonl. Needs numpy, pillow, tensorboard; no network."""
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time

import numpy as np
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def check(name, good):
    print(("ok" if good else "FAIL"), "train_files." + name, flush=True)
    check.bad |= not good


check.bad = False


def picture(k):
    out = io.BytesIO()
    Image.new("RGB", (64, 64), (k * 31 % 256, k * 57 % 256, 90)).save(out, "PNG")
    return out.getvalue()


def checked(vismin, *options):
    done = subprocess.run([vismin, "train", "clip", "--check-data", "--json", *options], capture_output=True, text=True)
    return done.returncode, json.loads(done.stdout) if done.stdout else {}


def records(vismin, work):
    rows = [dict(image_id=np.int64(k) if k % 2 else k, id=100 + k, caption=f"a dög {k}", relation_aug_caption="x", adj_aug_caption="###",
                 noun_aug_caption="y", verb_aug_caption="z", valid_caption=[1, 1, 0, 1, 1]) for k in range(7)]
    np.save(os.path.join(work, "r.npy"), np.array(rows, dtype=object))
    for k in range(7):
        open(os.path.join(work, "COCO_train2014_%012d.jpg" % k), "wb").write(picture(k))
    code, got = checked(vismin, "--data", os.path.join(work, "r.npy"))
    check("numpy_records", code == 0 and got["originals"] == 7 and got["invalid changes"] == 7 and got["pictures missing"] == 0)
    np.save(os.path.join(work, "call.npy"), np.array([Exception("x")], dtype=object))
    code, _ = checked(vismin, "--data", os.path.join(work, "call.npy"))
    check("nothing_is_executed", code == 3)


def shards(vismin, work):
    for n, layout in enumerate((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)):
        with tarfile.open(os.path.join(work, "s%d.tar" % n), "w", format=layout) as t:
            for k in range(5):
                key = ("folder/" * 8 + "name" * 20 + ("ü" if layout == tarfile.PAX_FORMAT else "u")) + str(k)
                for ending, data in (("png", picture(k)), ("txt", f"a cat {k}\n".encode()), ("cls", b"7")):
                    info = tarfile.TarInfo(f"{key}.{ending}")
                    info.size = len(data)
                    t.addfile(info, io.BytesIO(data))
    code, got = checked(vismin, "--data", os.path.join(work, "s{0..2}.tar"))
    check("tar_shards", code == 0 and got["originals"] == 15 and got["pictures looked for"] == 15)


def events(vismin, work):
    run = os.path.join(work, "run")
    command = [vismin, "train", "clip", "--data", os.path.join(work, "s{0..2}.tar"), "--scratch", "world", "--out", run, "--batch", "4", "--steps", "24",
               "--log-every", "1", "--save-every", "5", "--val", os.path.join(work, "s0.tar"), "--val-every", "6", "--dtype", "f32", "--quiet"]
    first = subprocess.Popen(command)
    while first.poll() is None and not os.path.isdir(os.path.join(run, "checkpoints", "step-00000010")):
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.wait()
    done = subprocess.run(command)
    a = EventAccumulator(os.path.join(run, "tensorboard"), size_guidance={"scalars": 0})
    a.Reload()
    loss = a.Scalars("train/loss")
    lines = [json.loads(line) for line in open(os.path.join(run, "log.jsonl"))]
    logged = {line["step"]: line["loss"] for line in lines if "loss" in line}
    check("tensorboard_steps", done.returncode == 0 and [e.step for e in loss] == list(range(1, 25)))
    check("tensorboard_values", all(abs(e.value - logged[e.step]) <= 1e-6 * abs(e.value) for e in loss))
    check("tensorboard_validation", [e.step for e in a.Scalars("val/i2t_r1")] == [6, 12, 18, 24])
    wanted = {"train/loss", "train/lr", "train/scale", "train/grad_norm", "train/samples_per_s", "train/data_s", "val/loss", "val/t2i_mean_rank"}
    check("tensorboard_tags", wanted <= set(a.Tags()["scalars"]))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        folder = sys.argv[2] if len(sys.argv) > 2 else temporary
        records(sys.argv[1], folder)
        shards(sys.argv[1], folder)
        events(sys.argv[1], folder)
    sys.exit(check.bad)
