#!/usr/bin/env python3
"""Data sets of the Hugging Face Hub as pictures and JSON Lines, which `vismin` reads.

    python3 io/hf_export.py SOURCE OUT [--split NAME]

SOURCE: a folder of save_to_disk (dataset_dict.json, or one split with state.json), a folder with .parquet or .arrow files
(a copy of the data set's repository or of its convert branch), or one such file. OUT: a new folder, or an empty one:

    OUT/data.jsonl                   one record a line, the columns as they are; a picture is the name of its file
    OUT/images/ROW_COLUMN.ENDING     the bytes of the pictures, unchanged; the ending is that of their first bytes

With several splits in SOURCE each becomes OUT/SPLIT/, unless --split names one. A picture column is a struct {bytes, path},
as the library `datasets` writes it; lists of such structs become lists of names. A picture without bytes keeps its path. Records
are read batch by batch: memory does not grow with the data set. data.jsonl appears when all pictures are written.

    python3 io/hf_export.py vismin-bench/data bench/ && vismin eval MODEL --dataset vismin --data bench/
    python3 io/hf_export.py winoground/data wino/ && vismin eval MODEL --dataset winoground --data wino/
    python3 io/hf_export.py countbench/ cb/ && vismin eval MODEL --dataset countbench --data cb/

Needs pyarrow (pip install pyarrow), nothing else and no network."""
import argparse
import base64
import json
import math
import os
import re
import sys

import pyarrow as pa
import pyarrow.parquet as pq

MAGIC = [(b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpg"), (b"GIF8", "gif"), (b"BM", "bmp"), (b"\x93NUMPY", "npy")]


def ending(data):
    for magic, name in MAGIC:
        if data.startswith(magic):
            return name
    return "webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else "bin"


def batches(path):
    """Record batches of an Arrow stream, an Arrow file or a Parquet file."""
    if path.endswith(".parquet"):
        yield from pq.ParquetFile(path).iter_batches(batch_size=64)
        return
    with pa.memory_map(path) as source:
        try:
            reader = pa.ipc.open_stream(source)
        except pa.ArrowInvalid:
            source.seek(0)
            reader = pa.ipc.open_file(source)
            reader = (reader.get_batch(k) for k in range(reader.num_record_batches))
        yield from reader


def files_below(folder):
    """Data files of a folder in the order of their names, those of the folder data/ too."""
    found = []
    for at, dirs, names in os.walk(folder):
        dirs.sort()
        found += [os.path.join(at, n) for n in sorted(names) if n.endswith((".arrow", ".parquet"))]
    return found


def split_of(path, root):
    """"test" of data/test-00000-of-00001.parquet, data/test/data-00000-of-00003.arrow, default/test/0000.parquet."""
    base = os.path.basename(path)
    name = re.match(r"([A-Za-z_]\w*?)(-\d+-of-\d+.*)?\.(arrow|parquet)$", base)
    if name and name.group(1) not in ("data", "cache"):
        return name.group(1)
    parent = os.path.dirname(os.path.relpath(path, root))
    return os.path.basename(parent) if parent not in ("", "data") else "default"


def find_splits(source):
    """{split: [files]}, in the order of the files."""
    if not os.path.isdir(source):
        return {"default": [source]}
    splits = {}
    names = os.path.join(source, "dataset_dict.json")
    if os.path.exists(names):
        with open(names) as f:
            for split in json.load(f)["splits"]:
                splits[split] = files_below(os.path.join(source, split))
    elif os.path.exists(os.path.join(source, "state.json")):  # one split of save_to_disk; it lists its files
        with open(os.path.join(source, "state.json")) as f:
            splits["default"] = [os.path.join(source, x["filename"]) for x in json.load(f)["_data_files"]]
    else:
        for path in files_below(source):
            splits.setdefault(split_of(path, source), []).append(path)
    return splits


def is_picture(t):
    return pa.types.is_struct(t) and {"bytes", "path"} <= {t.field(k).name for k in range(t.num_fields)}


class Writer:
    def __init__(self, out):
        self.out = out
        self.images = os.path.join(out, "images")
        os.makedirs(self.images, exist_ok=True)
        if os.listdir(self.images) or os.path.exists(os.path.join(out, "data.jsonl")):
            sys.exit(f"hf_export: {out} holds an export already; choose another folder or remove it")
        self.part = os.path.join(out, "data.jsonl.part")
        self.lines = open(self.part, "w", encoding="utf-8", newline="\n")
        self.rows = self.pictures = 0

    def picture(self, value, name):
        if value is None:
            return None
        if value["bytes"] is None:
            return value["path"]
        file = f"{name}.{ending(value['bytes'])}"
        with open(os.path.join(self.images, file), "wb") as f:
            f.write(value["bytes"])
        self.pictures += 1
        return "images/" + file

    def plain(self, value):
        """What JSON can hold; numbers that are none become null, bytes base64."""
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if isinstance(value, bytes):
            return base64.b64encode(value).decode()
        if isinstance(value, dict):
            return {k: self.plain(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.plain(v) for v in value]
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        return str(value)  # dates, decimals

    def record(self, batch, i):
        record = {}
        for field, column in zip(batch.schema, batch.columns):
            value, name = column[i].as_py(), f"{self.rows:06d}_{field.name}"
            if is_picture(field.type):
                value = self.picture(value, name)
            elif pa.types.is_list(field.type) and is_picture(field.type.value_type):
                value = [self.picture(v, f"{name}_{k}") for k, v in enumerate(value or [])]
            record[field.name] = self.plain(value)
        self.lines.write(json.dumps(record, ensure_ascii=False) + "\n")
        self.rows += 1

    def close(self):
        self.lines.flush()
        os.fsync(self.lines.fileno())
        self.lines.close()
        os.replace(self.part, os.path.join(self.out, "data.jsonl"))


def export(files, out):
    w = Writer(out)
    for path in files:
        for batch in batches(path):
            for i in range(batch.num_rows):
                w.record(batch, i)
    w.close()
    print(f"{out}: {w.rows} records, {w.pictures} pictures")


def main():
    words = __doc__.split("\n\n", 1)
    p = argparse.ArgumentParser(description=words[0], epilog=words[1], formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("source", metavar="SOURCE")
    p.add_argument("out", metavar="OUT")
    p.add_argument("--split", metavar="NAME", help="only this split, directly to OUT")
    a = p.parse_args()
    splits = {k: v for k, v in find_splits(a.source).items() if v}
    if not splits:
        sys.exit(f"hf_export: {a.source}: no .arrow or .parquet files here")
    if a.split and a.split not in splits:
        sys.exit(f"hf_export: {a.source}: no split {a.split}; there are: {', '.join(splits)}")
    for split, files in splits.items():
        if not a.split or split == a.split:
            export(files, a.out if a.split or len(splits) == 1 else os.path.join(a.out, split))


if __name__ == "__main__":
    main()
