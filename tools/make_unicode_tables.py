#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes core/text/unicode_tables.h: letters, numbers, lower case and canonical composition.

Letters, numbers and lower case are asked of the tokenizers library, whose Unicode version the tokenizer must follow;
decompositions and combining classes come from Python's unicodedata. Usage: make_unicode_tables.py > core/text/unicode_tables.h
"""
import unicodedata

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

CODES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def matching(pattern):
    split = pre_tokenizers.Split(Regex(pattern), behavior="removed", invert=True)
    return [c for c in CODES if split.pre_tokenize_str("\0" + chr(c))]


def ranges(codes):
    out = []
    for c in codes:
        if out and c == out[-1][1] + 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def lower_ranges():
    """first, last, step, delta: runs of letters one or two apart that move by the same distance."""
    out = []
    lower = normalizers.Lowercase()
    for c in CODES:
        to = lower.normalize_str(chr(c))
        if to == chr(c) or c == 0x130:  # U+0130 becomes two characters; unicode.c knows it
            continue
        assert len(to) == 1, hex(c)
        delta = ord(to) - c
        if out and out[-1][3] == delta:
            first, last, step, _ = out[-1]
            if c - last == step or (first == last and c - last == 2):
                out[-1][1:3] = [c, c - last]
                continue
        out.append([c, c, 1, delta])
    return out


def decompositions():
    """code, first, second (0: a single one), 1 if composing it back is allowed."""
    out = []
    for c in CODES:
        text = unicodedata.decomposition(chr(c))
        if not text or text.startswith("<"):
            continue
        parts = [int(p, 16) for p in text.split()]
        back = len(parts) == 2 and unicodedata.normalize("NFC", chr(c)) == chr(c)
        out.append([c, parts[0], parts[1] if len(parts) > 1 else 0, int(back)])
    return out


def classes():
    out = []
    for c in CODES:
        k = unicodedata.combining(chr(c))
        if k and out and out[-1][1] == c - 1 and out[-1][2] == k:
            out[-1][1] = c
        elif k:
            out.append([c, c, k])
    return out


def table(kind, name, rows):
    print(f"\nstatic const struct {kind} {name}[] = {{")
    line = "   "
    for row in rows:
        while row[-1] == 0:
            row = row[:-1]
        item = " {" + ", ".join(f"0x{v:x}" if i < 2 or (kind == "decomposition" and i == 2) else str(v) for i, v in enumerate(row)) + "},"
        if len(line) + len(item) > 120:
            print(line)
            line = "   "
        line += item
    print(line + "\n};")


def main():
    print("// SPDX-License-Identifier: Apache-2.0")
    print(f"// Made by tools/make_unicode_tables.py (tokenizers {tokenizers.__version__}, unicodedata {unicodedata.unidata_version}). Do not edit.")
    print("// clang-format off\n#ifndef CORE_TEXT_UNICODE_TABLES_H\n#define CORE_TEXT_UNICODE_TABLES_H\n\n#include <stdint.h>\n")
    print("struct code_range {\n    uint32_t first, last;\n};\nstruct lower_range {\n    uint32_t first, last, step;\n    int32_t delta;\n};")
    print("struct class_range {\n    uint32_t first, last, value;\n};\nstruct decomposition {\n    uint32_t code, first, second, composes;\n};")
    table("code_range", "letters", ranges(matching(r"\p{L}")))
    table("code_range", "numbers", ranges(matching(r"\p{N}")))
    table("lower_range", "lower", lower_ranges())
    table("class_range", "classes", classes())
    table("decomposition", "decompositions", decompositions())
    print("\n#endif")


if __name__ == "__main__":
    main()
