#!/usr/bin/env python3
"""The other opinion on Compose files: PyYAML, which podman-compose and docker-compose 1 read them with.

    compose_oracle.py make FOLDER SEED COUNT    writes files N.yml: some as publishers write them, the rest random; only what PyYAML takes
    compose_oracle.py compare FOLDER            each N.out says the same as its N.yml: prints how many, fails where one does not
"""
import pathlib
import random
import sys

import yaml

IMAGE = "hub.example/f/app@sha256:" + "a" * 64
# Plain scalars whose type parsers know, or think that they know.
PLAIN = """yes no on off true FALSE Yes null Null ~ 0 007 0123 0o17 0x1F 1_000 1e3 1.0e+3 .5 .inf -.INF .nan 1:30 190:20:30 12:30:45.5
2001-12-14 2001-12-14t21:59:43.10-05:00 -1 +1 -.5 - a-b -x a:b http://h/x?a=b%20c 80:80 127.0.0.1:80:80/tcp $X ${X:-y} $$X a=b =b
/a/b:/c:ro ./x ../y ~/z *.log @x x@y 100% a&b a*b a!b a|b a>b a#b #x .. ... .x _x é ü-x 1,000 y n Y N x'y x"y \\x \\n C:\\x""".split()
WORDS = ["a", "it's", 'say "hi"', "# no comment", "a: b", "- a", "\\t", "x\\y", "é", "", " ", "trailing ", " leading", "{", "]", "&a", "*a", "!x", "%d", "?", "|", "yes", "012", "1e3", "null"]
CORPUS = ["""\
version: "3.8"
x-common: &common
  restart: unless-stopped
  logging: &logging
    driver: json-file
    options: {max-size: "10m", max-file: '3'}
x-env: &env
  TZ: Etc/UTC
  DEBUG: "no"
services:
  web:
    <<: *common
    image: IMAGE
    environment:
      <<: *env
      PORT: 0123
      ON: yes
    ports: ["8080:80", 22:22]
    command: >-
      sh -c "while true; do
        sleep 1
      done"
  db:
    <<: [*common, {stop_grace_period: 1m30s}]
    image: 'IMAGE'
    logging: *logging
    healthcheck:
      test: ["CMD-SHELL", "pg_isready -U $$USER || exit 1"]
      interval: 10s
    volumes:
    - data:/var/lib/db
    - type: bind
      source: ./conf
      target: /etc/db
volumes:
  data:
""", """\
---
# comment
services:
    "init":
        image: "IMAGE" # pinned
        entrypoint:
            - /bin/sh
            - -ec
            - |
                echo "it's: $${HOME}"   
                	tab

                # not a comment
            - >+
                folded
                text

                  more

        labels: {a.b/c: "1", 'd': , e: [x, [y, {z: ~}]]}
        profiles: [never]
    app:
        image: IMAGE
        mem_limit: 1e9
        environment: [A=1, "B=two words", C]
        extra_hosts: ["h:1.2.3.4"]
...
"""]


def text(r):
    return "".join(r.choice(WORDS) for _ in range(r.randint(1, 3)))


def single(r):
    return "'" + text(r).replace("'", "''") + "'"


def double(r):
    body = "".join(r.choice(['a', ' ', '\\n', '\\t', '\\"', '\\\\', '\\x41', '\\u00e9', '\\U0001F600', '\\e', '\\0', '\\_', '\\N', ': ', '#', "'"]) for _ in range(r.randint(0, 6)))
    return '"' + body + '"'


def block(r, indent):
    head = r.choice("|>") + r.choice(["", "-", "+"])
    lines = [r.choice(["", "a", "  deeper", "# x", "k: v", "- x", "it's \"x\"", "\ttab"]) for _ in range(r.randint(1, 4))]
    return head + "\n" + "\n".join((" " * indent + "first" if not i else (" " * indent + line if line else "")) for i, line in enumerate(["first"] + lines))


def flow(r, depth):
    kind = r.random()
    if depth <= 0 or kind < 0.5:
        return r.choice([r.choice(PLAIN), single(r), double(r)])
    if kind < 0.75:
        return "[" + ", ".join(flow(r, depth - 1) for _ in range(r.randint(0, 3))) + r.choice(["", ","]) + "]"
    return "{" + ", ".join(f"{key(r, i)}: {flow(r, depth - 1)}" for i in range(r.randint(0, 3))) + "}"


def key(r, number):
    return r.choice(["k%d", "'k %d'", '"k\\x20%d"', "a.b-%d", "%d", "é%d", "-k%d", "/k/%d", "k%d:x"]) % number


def node(r, indent, depth, anchors):
    """What comes behind `key:` or `-`, with its line's end."""
    kind = r.random()
    comment = r.choice(["", "", "", " # c"])
    anchor = ""
    if r.random() < 0.15:
        anchors.append(f"n{len(anchors)}")
        anchor = f" &{anchors[-1]}"
    if kind < 0.1 and not anchor and anchors:
        return f" *{r.choice(anchors)}{comment}\n"
    if depth <= 0 or kind < 0.35:
        plain = r.choice(PLAIN) if r.random() < 0.8 else f"{r.choice(PLAIN)} {r.choice(PLAIN)}\n{' ' * (indent + 2)}{r.choice(PLAIN)}"
        return f"{anchor} {r.choice([plain, single(r), double(r)])}{comment}\n"
    if kind < 0.45:
        return f"{anchor} {block(r, indent + 2)}\n"
    if kind < 0.6:
        return f"{anchor} {flow(r, 2)}{comment}\n"
    if kind < 0.8:
        return f"{anchor}{comment}\n" + "".join(f"{' ' * indent}  -{node(r, indent + 2, depth - 1, anchors)}" for _ in range(r.randint(1, 3)))
    merge = f"{' ' * indent}  <<: *{r.choice(anchors)}\n" if anchors and r.random() < 0.3 else ""
    return f"{anchor}{comment}\n" + merge + "".join(f"{' ' * indent}  {key(r, i)}:{node(r, indent + 2, depth - 1, anchors)}" for i in range(r.randint(1, 3)))


def document(r):
    anchors = []
    head = "".join(f"x-{i}:{node(r, 0, 3, anchors)}" for i in range(r.randint(0, 2)))
    body = "".join(f"    {key(r, i)}:{node(r, 4, 3, anchors)}" for i in range(r.randint(0, 4)))
    return f"{head}services:\n  web:\n    image: IMAGE\n{body}"


def exact(value):
    """Equality in Python says that 1, 1.0 and True are the same."""
    if isinstance(value, dict):
        return "dict", sorted(((exact(k), exact(v)) for k, v in value.items()), key=repr)
    if isinstance(value, list):
        return "list", [exact(v) for v in value]
    return type(value).__name__, repr(value)


def load(path):
    return exact(yaml.safe_load(path.read_text(encoding="utf-8")))


def make(folder, seed, count):
    r, made = random.Random(seed), 0
    documents = iter(CORPUS)
    while made < count:
        written = (next(documents, None) or document(r)).replace("IMAGE", IMAGE)
        try:
            exact(yaml.safe_load(written))
        except (yaml.YAMLError, ValueError, RecursionError, TypeError):
            assert made >= len(CORPUS), "PyYAML does not take a file of the corpus"
            continue
        (folder / f"{made}.yml").write_text(written, encoding="utf-8", newline="")
        made += 1


def compare(folder):
    same = 0
    for out in sorted(folder.glob("*.out")):
        source = out.with_suffix(".yml")
        if load(source) != load(out):
            print(f"{source}:\n{source.read_text()}\nbecame\n{out.read_text()}\n{load(source)}\n{load(out)}", file=sys.stderr)
            return 1
        same += 1
    print(same)
    return 0


if __name__ == "__main__":
    where = pathlib.Path(sys.argv[2])
    sys.exit(make(where, int(sys.argv[3]), int(sys.argv[4])) if sys.argv[1] == "make" else compare(where))
