"""Data sets as the Hugging Face library `datasets` saves them, through io/hf_export.py, into `vismin`.

    python hf_export.py VISMIN [WORK_DIR]

Makes a small VisMin benchmark as an Arrow stream in two parts with dataset_dict.json (save_to_disk), the same as Parquet,
Winoground and CountBench as Parquet with embedded pictures, exports each, and compares what `vismin eval oracle --show`
understood with what went in, pictures byte by byte. Needs pyarrow; no network."""
import json
import os
import struct
import subprocess
import sys
import tempfile
import zlib

import pyarrow as pa
import pyarrow.parquet as pq

TOOL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "io", "hf_export.py")
PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png(seed):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + bytes((seed * 7 + y * 3 + x) % 256 for x in range(12)) for y in range(4))
    head = struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def picture(seed):
    return {"bytes": png(seed), "path": f"{seed}.png"}


def pairs(n, extra):
    rows = [{"id": i, "image_0": picture(2 * i), "image_1": picture(2 * i + 1), **extra(i)} for i in range(n)]
    fields = [("id", pa.int32()), ("image_0", PICTURE), ("image_1", PICTURE)]
    fields += [(k, pa.int32() if isinstance(v, int) else pa.string()) for k, v in extra(0).items()]
    return pa.Table.from_pylist(rows, pa.schema(fields))


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def show(vismin, dataset, data, n):
    return run(vismin, "eval", "oracle", "--dataset", dataset, "--data", data, "--show", str(n), "--quiet")


def check_pictures(folder, table, columns):
    with open(os.path.join(folder, "data.jsonl"), encoding="utf-8") as f:
        records = [json.loads(line) for line in f]
    assert len(records) == table.num_rows
    for i, record in enumerate(records):
        for c in columns:
            with open(os.path.join(folder, record[c]), "rb") as f:
                assert f.read() == table[c][i].as_py()["bytes"], (i, c)


def main():
    vismin, work = os.path.abspath(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp()
    categories = ["object", "attribute", "relation", "counting"]
    bench = pairs(8, lambda i: {"text_0": f"caption {i}, “quoted”\nö", "text_1": f"edit {i}",
                                "question_1": "?", "category": categories[i // 2]})
    source = os.path.join(work, "saved")
    os.makedirs(os.path.join(source, "test"))
    with open(os.path.join(source, "dataset_dict.json"), "w") as f:
        f.write('{"splits": ["test"]}')
    for part in range(2):  # save_to_disk: Arrow streams
        with pa.OSFile(os.path.join(source, "test", f"data-{part:05d}-of-00002.arrow"), "wb") as f:
            with pa.ipc.new_stream(f, bench.schema) as w:
                w.write_table(bench.slice(4 * part, 4), max_chunksize=3)
    os.makedirs(os.path.join(work, "parquet", "data"))
    pq.write_table(bench, os.path.join(work, "parquet", "data", "test-00000-of-00001.parquet"), row_group_size=3)
    seen = []
    for name in ("saved", "parquet"):
        out = os.path.join(work, name + "-out")
        run(sys.executable, TOOL, os.path.join(work, name), out)
        check_pictures(out, bench, ["image_0", "image_1"])
        seen.append(show(vismin, "vismin", out, 8).replace(out, ""))
        assert seen[-1].count("caption 0  caption ") == 8 and "counting                     2" in seen[-1], seen[-1]
    assert seen[0] == seen[1]
    print("vismin: Arrow streams and Parquet give the same 8 pairs")

    wino = pairs(3, lambda i: {"caption_0": f"a {i}", "caption_1": f"{i} a", "tag": "x", "num_main_preds": 1,
                               "collapsed_tag": "Relation"})
    os.makedirs(os.path.join(work, "wino"))
    pq.write_table(wino, os.path.join(work, "wino", "train.parquet"))
    pq.write_table(wino, os.path.join(work, "wino", "test.parquet"))
    out = os.path.join(work, "wino-out")
    run(sys.executable, TOOL, os.path.join(work, "wino"), out, "--split", "test")
    assert show(vismin, "winoground", out, 3).count(", Relation") == 3
    again = subprocess.run([sys.executable, TOOL, os.path.join(work, "wino"), out, "--split", "test"], stderr=subprocess.PIPE,
                           encoding="utf-8")
    assert again.returncode == 1 and "holds an export already" in again.stderr
    unknown = subprocess.run([sys.executable, TOOL, os.path.join(work, "wino"), out + "2", "--split", "dev"],
                             stderr=subprocess.PIPE, encoding="utf-8")
    assert "no split dev; there are: test, train" in unknown.stderr, unknown.stderr
    print("winoground: one of two splits of Parquet")

    rows = [{"image": picture(i), "image_url": "http://x/a.jpg", "text": f"{w} cups", "number": n}
            for i, (n, w) in enumerate([(2, "two"), (10, "Ten")])]
    schema = pa.schema([("image", PICTURE), ("image_url", pa.string()), ("text", pa.string()), ("number", pa.int64())])
    table = pa.Table.from_pylist(rows, schema)
    pq.write_table(table, os.path.join(work, "cb.parquet"))
    out = os.path.join(work, "cb-out")
    run(sys.executable, TOOL, os.path.join(work, "cb.parquet"), out)
    check_pictures(out, table, ["image"])
    assert "000001_image.png" in show(vismin, "countbench", out, 2)
    print("countbench: embedded pictures instead of addresses")


main()
