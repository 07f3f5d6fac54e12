#!/usr/bin/env python3
"""Writes the tokenizer goldens beside this file (needs transformers, open_clip_torch and ftfy; not needed to test).

hf/        tokenizer.json and tokenizer_config.json as transformers saves them
pair/      the same vocabulary as vocab.json and merges.txt
cut/       hf/ with truncation to 12 and padding to 14 stated in tokenizer.json
open_clip/ open_clip_config.json and bpe_simple_vocab_16e6.txt.gz
cases.jsonl  {"text", "hf": ids, "decoded": text of hf, "cut": ids, "open_clip": ids} per line

The vocabulary is learnt here from a few captions; the rules are what is tested. Mojibake repair, which open_clip takes
from ftfy, is switched off: the program leaves it out.
"""
import collections
import gzip
import html.entities
import json
import os
import random
import unicodedata

import ftfy
import open_clip.tokenizer
from transformers import CLIPTokenizer
from tokenizers import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
CORPUS = """a photo of a red cube on the left of a blue sphere . there are three green cylinders and two yellow cones in
front of the large gray wall . the dog 's toy is under the wooden table and a cat sits near the open window . it isn 't
raining , we 'll walk past the old café in straße 12 with 5 children ! a naïve résumé über alles ... привет мир κόσμος
你好 世界 日本語 😀 🐱 a man is riding a bicycle while another one looks at the busy street start of text end of text ς σ"""


def byte_chars():
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    order, chars = list(keep), [chr(b) for b in keep]
    for b in range(256):
        if b not in keep:
            order.append(b)
            chars.append(chr(256 + len(order) - 189))
    return order, chars


def learn(n):
    order, chars = byte_chars()
    table = dict(zip(order, chars))
    words = [[table[b] for b in w.encode()] for w in CORPUS.split()]
    words = [w[:-1] + [w[-1] + "</w>"] for w in words]
    merges = []
    while len(merges) < n:
        count = collections.Counter(p for w in words for p in zip(w, w[1:]))
        if not count:
            break
        best = min(count, key=lambda p: (-count[p], p))
        merges.append(best)
        for w in words:
            i = 0
            while i + 1 < len(w):
                if (w[i], w[i + 1]) == best:
                    w[i:i + 2] = ["".join(best)]
                i += 1
    toks = chars + [c + "</w>" for c in chars] + ["".join(m) for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
    assert len(set(toks)) == len(toks)
    return {t: i for i, t in enumerate(toks)}, merges


HAND = ["", " ", "\t\r\n", "a", "A photo of a CAT.", "The dog's toy isn't under it, we'll see: I'd, they'VE, you're, I'm!",
        "it''s '' ' 's 't", "12 3.14 \u00bd \u00b2 \u0663 \u2167", "\u03a3\u0391\u03a3 \u03c3\u03b1\u03c2 \u039f\u0394\u039f\u03a3. \u03a3 \u03a3\u0391 A\u03a3' A'\u03a3 A\u0301\u03a3\u0301",
        "\u0130stanbul \u0131 \u1e9e \u00df \u017f '\u017f", "cafe\u0301 caf\u00e9 e\u0323\u0301 e\u0301\u0323 \u1112\u1161\u11ab \u212b \u0958",
        "\ufb01ne \ufb02ow \ufb03 \ufb05 \u0132 \u0149 \u01c5 \u01c4", "\u201cquotes\u201d \u2018single\u2019 don\u2019t \u02bc",
        "\uff21\uff22\uff11\uff01 \uff76\uff9e \uffe3 \u3000x", "&amp; &lt;b&gt; &quot;x&quot; &#39;y&#39; &amp;amp; &amp;amp;lt;",
        "&eacute; &EACUTE; &SZLIG; &NTILDE; &Eacute &notit; &notin; &not; &hearts; &nosuch; &NotEqualTilde; &fjlig;",
        "&#65; &#x41; &#X41 &#128; &#150; &#0; &#13; &#11; &#xd800; &#x110000; &#99999999999999999999; &#59; &#; &#x; &#12a;",
        "<b>&eacute;</b> &AMP; &LT;", "&eacute; line\n<b> &EACUTE; line\n &EACUTE;", "AT&T &ampx &LTFOO; &", "&eacute&#59; &amp#14; &amp#128; &amp#xfdd0;x &amp#65",
        "!<|EndOfText|>! <|ENDOFTEXT|><|STARTOFTEXT|>.", "a\x1b[31mred\x1b[0m \x1b[ \x1b",
        "a\x00b\x01c\x1cd\x7fe\x80f\x85g\x92h\x9di", "\ufeffBOM \u206ax\ufff9y\ufffcz\ufffd", "a\u00a0b\u2003c\u200bd\u2028e\u2029f\u1680g\u180eh\u202fi",
        "<|startoftext|> x <|endoftext|>y", "<|STARTOFTEXT|>! <|EndOfText|>", "<start_of_text> y <end_of_text> <START_OF_TEXT>",
        "<\u017ftart_of_text>", "\u0345 a\u0345b \u2260\u0345\u00d8", "\U0001f468\u200d\U0001f469 \U0001f44d\U0001f3fd \u2764\ufe0f 1\ufe0f\u20e3",
        "\u4f60\u597d\uff0c\u4e16\u754c\uff01", "\u0928\u092e\u0938\u094d\u0924\u0947 \u0e2a\u0e27\u0e31\u0e2a", "\ue000 \U0010ffff \uffff",
        "word " * 40, "a" * 300, "\u0301" * 60, "\u0323\u0301" * 40, "x\u0301\u0323" * 30, "&amp;" * 3 + "amp;" * 20, "&" * 90,
        "one two three four five six seven eight", "a b c d e f g h i j", "a b c d e f g h i j k", "</w>", "a</w>"]


def random_strings(n):
    rng = random.Random(7)
    names = list(html.entities.html5)
    known = [c for c in map(chr, range(0x110000)) if unicodedata.category(c) not in ("Cn", "Cs", "Co")]
    plain = CORPUS.split() + "I'm THEY'RE \u03a3\u0391\u03a3 \ufb01 \u201cq\u201d < > & &# &#65; \x1b[0m \x85 \x92 \u200d e\u0301\u0323 \u0345".split(" ")

    def piece():
        k = rng.random()
        if k < .4:
            return rng.choice(plain)
        if k < .5:
            name = rng.choice(names)
            return "&" + rng.choice([name, name.upper(), name[:-1], name[:-1] + "x;"])
        if k < .55:
            return "&#" + rng.choice(["%d", "x%x"]) % ord(rng.choice(known)) + rng.choice([";", ""])
        if k < .8:
            return rng.choice(known)
        return "".join(rng.choice("abcdefghijklmnopqrstuvwxyzABC0123!.,'") for _ in range(rng.randrange(1, 9)))

    return ["".join(piece() + rng.choice(["", "", " ", "  "]) for _ in range(rng.randrange(1, 7))) for _ in range(n)]


def main():
    os.chdir(HERE)
    vocab, merges = learn(420)
    hf = CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77)
    hf.save_pretrained("hf")
    os.makedirs("pair", exist_ok=True)
    with open("pair/vocab.json", "w", encoding="utf-8") as f:
        json.dump(vocab, f, ensure_ascii=False)
    with open("pair/merges.txt", "w", encoding="utf-8") as f:
        f.write("#version: 0.2\n" + "\n".join(" ".join(m) for m in merges) + "\n")
    with open("hf/tokenizer.json", encoding="utf-8") as f:
        tj = json.load(f)
    with open("hf/tokenizer.json", "w", encoding="utf-8") as f:
        json.dump(tj, f, ensure_ascii=False)
    tj["truncation"] = {"direction": "Right", "max_length": 12, "strategy": "LongestFirst", "stride": 0}
    tj["padding"] = {"strategy": {"Fixed": 14}, "direction": "Right", "pad_to_multiple_of": None,
                     "pad_id": len(vocab) - 1, "pad_type_id": 0, "pad_token": "<|endoftext|>"}
    os.makedirs("cut", exist_ok=True)
    tj["model"]["merges"] = [" ".join(m) for m in tj["model"]["merges"]]  # the older spelling
    with open("cut/tokenizer.json", "w", encoding="utf-8") as f:
        json.dump(tj, f, ensure_ascii=False)
    cut = Tokenizer.from_file("cut/tokenizer.json")
    os.makedirs("open_clip", exist_ok=True)
    path = "open_clip/bpe_simple_vocab_16e6.txt.gz"
    with gzip.GzipFile(path, "wb", mtime=0) as f:
        f.write(("\"version 0.2#version: 0.2\n" + "\n".join(" ".join(m) for m in merges)).encode())
    with open("open_clip/open_clip_config.json", "w") as f:
        json.dump({"model_cfg": {"text_cfg": {"context_length": 32, "vocab_size": len(vocab)}}}, f)
    oc = open_clip.tokenizer.SimpleTokenizer(path, context_length=32)
    open_clip.tokenizer.ftfy = type("Fix", (), {"fix_text": staticmethod(lambda s: ftfy.fix_text(s, fix_encoding=False))})
    new = lambda s: any(unicodedata.category(c) == "Cn" and c < "\ufff0" or unicodedata.category(c) == "Cs" for c in s)
    with open("cases.jsonl", "w", encoding="utf-8") as f:
        for s in HAND + random_strings(260):
            if new(s) or new(oc.clean_fn(s)):
                continue
            ids, row = hf(s)["input_ids"], [oc.sot_token_id] + oc.encode(s) + [oc.eot_token_id]
            if len(row) > 32:
                row = row[:31] + [oc.eot_token_id]
            f.write(json.dumps({"text": s, "hf": ids, "decoded": hf.decode(ids, skip_special_tokens=True),
                                "cut": cut.encode(s).ids, "open_clip": row}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
