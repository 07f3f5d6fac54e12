#!/usr/bin/env python3
"""Writes io/tok_bert_table.h to standard output (needs the Python package tokenizers, and libutf8proc for the categories that
the program sees; not needed to build). Run again when a newer Unicode adds marks or punctuation."""
import ctypes
import ctypes.util

from tokenizers import normalizers, pre_tokenizers

utf8proc = ctypes.CDLL(ctypes.util.find_library("utf8proc"))
utf8proc.utf8proc_category_string.restype = ctypes.c_char_p
off = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
clean = normalizers.BertNormalizer(**{**off, "clean_text": True})
strip = normalizers.BertNormalizer(**{**off, "strip_accents": True})
words = pre_tokenizers.BertPreTokenizer()


def reference(c):
    """What the reference takes the character for: control, mark, punctuation, or neither."""
    if clean.normalize_str("a" + c + "b") == "ab":
        return "C"
    if strip.normalize_str(c) == "":
        return "M"
    return "P" if len(words.pre_tokenize_str("a" + c + "b")) == 3 else ""


def ours(c):
    k = utf8proc.utf8proc_category_string(ord(c)).decode()
    return "C" if k in ("Cc", "Cf", "Co") else "M" if k == "Mn" else "P" if k[0] == "P" else ""


plain, other = [], []
for code in range(0x80, 0x110000):
    if 0xd800 <= code < 0xe000 or code == 0xfffd:
        continue
    c = chr(code)
    want, got = reference(c), ours(c)
    if want == got:
        continue
    if want:
        other.append((code, want))
    elif plain and plain[-1][1] == code - 1:
        plain[-1][1] = code
    else:
        plain.append([code, code])

print("/* tok_bert_table.h - where the categories of characters that WordPiece's reference knows differ from today's Unicode:\n"
      " * its tables are those of Unicode 8. Written by tok_bert_table.py. */\n#include <stdint.h>\n\n"
      "static const int32_t plain_ranges[][2] = { /* marks, punctuation and formats of today that it takes for letters */")
line = "   "
for a, b in plain:
    item = " { 0x%x, 0x%x }," % (a, b)
    if len(line + item) > 116:
        print(line)
        line = "   "
    line += item
print(line + "\n};\nstatic const struct {\n    int32_t c;\n    char kind;\n} other_kinds[] = { /* what it takes for a mark (M), punctuation (P) or a control character (C) */")
print("    " + ", ".join("{ 0x%x, '%s' }" % x for x in other) + "\n};")
