#!/usr/bin/env python3
"""Writes the WordPiece goldens beside this file (needs transformers; not needed to test).

bert/      tokenizer.json and tokenizer_config.json as transformers saves them: lower case, no accents; with the [DEC] and
           [ENC] that BLIP adds
bert_txt/  the same vocabulary as vocab.txt, with case and accents (tokenizer_config.json) and [DEC], [ENC] in added_tokens.json
bert_cases.jsonl  {"text", "bert": ids, "decoded": text of bert, "bert_txt": ids} per line

The vocabulary is made here: the characters of the strings, some words and word ends.
"""
import json
import os
import random
import shutil

from make import CORPUS, HAND, random_strings
from transformers import BertTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
BERT = ["[CLS] a [SEP] b [MASK][PAD] [UNK]", "[DEC] a cat[ENC]", "[cls] [enc] [ CLS ]", "a" * 100, "a" * 101 + " cat", "\u00e9" * 100, "\u00e9" * 101,
        "walking walked! un-walked (walks)... $5 ^x ~y `z | a_b", "\u4e2d\u6587abc\u65e5\u672c \U00020000x \U0002b740y \U0002b820z \U0002f800",
        "\ud55c\uad6d\uc5b4 \u1112\u1161\u11ab", "a\u0301\u0327b \u0344 \u1734x \u111c9 \U000111c9 \u166d \u0610", "\u2e43 \u2e42 \u1ab0 \u1abf \u1df6x \u061d \u08e2x \u0890",
        "\u30fb\u3001\u3002\u300cx\u300d \u2010\u2011 \u00a1\u00bf \u00ab\u00bb \u20ac \u00a2", "\u0130stanbul \u01c5 \u1e9e", "\u00ad soft\u00adhyphen \u200b\u200c\u200d zero",
        "line one\nline two\r\nline\ttab \x0b\x0c\x1c\x85 end", "\ufffda\ufffd \ufeffb", "trailing   "]


def main():
    os.chdir(HERE)
    rng = random.Random(3)
    strings = BERT + HAND + random_strings(150)
    probe = [BertTokenizer(vocab={"[UNK]": 0}, do_lower_case=low).backend_tokenizer.normalizer for low in (True, False)]
    chars = sorted({c for s in strings for n in probe for c in n.normalize_str(s) if not c.isspace()})
    chars = [c for c in chars if ord(c) < 0x250 or rng.random() < .4]
    words = sorted({w for w in CORPUS.lower().split() if len(w) > 1 and w.isascii()})
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + chars + ["##" + c for c in chars if c.isalnum()] + words + \
        ["##ing", "##ed", "##s", "##er", "walk", "un", "Walk", "caf\u00e9"]
    vocab = {w: i for i, w in enumerate(dict.fromkeys(vocab))}
    extra = ["[DEC]", "[ENC]"]
    for d in ("bert", "bert_txt"):
        shutil.rmtree(d, ignore_errors=True)
    bert = BertTokenizer(vocab=dict(vocab), do_lower_case=True, model_max_length=40)
    bert.add_special_tokens({"bos_token": extra[0], "additional_special_tokens": extra[1:]})
    bert.save_pretrained("bert")
    with open("bert/tokenizer.json", encoding="utf-8") as f:
        tj = json.load(f)
    tj["truncation"] = {"direction": "Right", "max_length": 12, "strategy": "LongestFirst", "stride": 0}
    tj["padding"] = {"strategy": {"Fixed": 14}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}
    with open("bert/tokenizer.json", "w", encoding="utf-8") as f:
        json.dump(tj, f, ensure_ascii=False)
    txt = BertTokenizer(vocab=dict(vocab), do_lower_case=False, strip_accents=None, model_max_length=40)
    txt.add_special_tokens({"bos_token": extra[0], "additional_special_tokens": extra[1:]})
    os.makedirs("bert_txt")
    with open("bert_txt/vocab.txt", "w", encoding="utf-8") as f:
        f.write("\n".join(vocab) + "\n")
    with open("bert_txt/added_tokens.json", "w") as f:
        json.dump({w: len(vocab) + i for i, w in enumerate(extra)}, f)
    with open("bert_txt/tokenizer_config.json", "w") as f:
        json.dump({"do_lower_case": False, "strip_accents": None, "tokenize_chinese_chars": True, "model_max_length": 40,
                   "tokenizer_class": "BertTokenizer", "cls_token": "[CLS]", "sep_token": {"content": "[SEP]"}}, f)
    with open("bert_cases.jsonl", "w", encoding="utf-8") as f:
        for s in strings:
            ids = bert(s)["input_ids"]
            row = {"text": s, "bert": ids, "decoded": bert.backend_tokenizer.decode(ids, skip_special_tokens=True), "bert_txt": txt(s)["input_ids"]}
            f.write(json.dumps(row, ensure_ascii=True, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
