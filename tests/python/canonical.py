"""Writes random JSON documents with both canonical forms, one a line: hex of document, OLPC form, ASCII form."""

import json
import random
import sys

from securesystemslib.formats import encode_canonical

CHARACTERS = ['"', "\\", "/", "\n", "\r", "\t", "\b", "\f", "\0", "\x1f", "\x7f", "\x80", "é", "e\u0301", "ﬀ", "漢",
              "\u2028", "\ud7ff", "\ue000", "\uffff", "😀", "\U0010ffff", "a", "A", "z", "0", "_", " ", "{", ":", ","]


def text(source):
    return "".join(source.choice(CHARACTERS) for _ in range(source.randrange(8)))


def value(source, depth):
    kind = source.randrange(9 if depth else 6)
    if kind == 0:
        return source.choice([0, -1, 1, 2**63 - 1, -(2**63), 2**64 - 1, source.randrange(-(10**6), 10**6)])
    if kind == 1:
        return source.choice([True, False, None])
    if kind < 6:
        return text(source)
    if kind == 6:
        return [value(source, depth - 1) for _ in range(source.randrange(5))]
    return {text(source): value(source, depth - 1) for _ in range(source.randrange(8))}


def main():
    source = random.Random(int(sys.argv[1]))
    for _ in range(int(sys.argv[2])):
        one = value(source, 5)
        ascii_only, indent = source.random() < 0.5, source.choice([None, 1])
        document = json.dumps(one, ensure_ascii=ascii_only, indent=indent).encode()
        ascii_form = json.dumps(one, sort_keys=True, separators=(",", ":"))
        # The one difference between Python and jsoncpp, which is what these servers' peers run: DEL is not escaped.
        ascii_form = ascii_form.replace("\\u007f", "\x7f").encode()
        print(document.hex(), encode_canonical(one).encode().hex(), ascii_form.hex())


main()
