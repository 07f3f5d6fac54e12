#!/usr/bin/env python3
"""Prints html_entities_table.h: the named character references of HTML 5, sorted by name (bytes).

    python3 io/html_entities.py > io/html_entities_table.h

The names and code points come from Python's html.entities.html5, which holds the list of the HTML standard.
"""
from html.entities import html5

print("/* html_entities_table.h - named character references of HTML 5; written by html_entities.py.")
print(" * {name without & and ;, code point, second code point or 0, 1 = also valid without the semicolon} */")
print("static const struct { const char *name; int32_t a, b; int bare; } html_entity[] = {")
line = ""
for name in sorted(n[:-1] for n in html5 if n.endswith(";")):
    v = [ord(c) for c in html5[name + ";"]] + [0]
    item = '{"%s", %d, %d, %d}, ' % (name, v[0], v[1], name in html5)
    if len(line) + len(item) > 116:
        print("    " + line.rstrip())
        line = ""
    line += item
print("    " + line.rstrip(", ") + "};")
