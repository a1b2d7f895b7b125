"""Reads every recipe, class and configuration file of a layer with BitBake's own parser, and what is in them with Python's
compiler and shellcheck. Other layers' classes and variables are not needed: nothing is expanded.

    parse.py LAYER
"""

import pathlib
import re
import subprocess
import sys
import types

# bb imports it for building, and the package that carries bb has it not.
for name in ("hashserv", "hashserv.client"):
    sys.modules[name] = types.ModuleType(name)

import bb.parse.ast as ast
import bb.parse.parse_py.BBHandler as bbhandler
import bb.parse.parse_py.ConfHandler as confhandler
from pyflakes import api, reporter

# What bitbake and the classes define for a function.
KNOWN = {"bb", "oe", "d", "os", "e"}
# Variables of bitbake look unassigned and unused to shellcheck.
SHELL_EXCUSED = "SC2154,SC2034,SC3043,SC2086,SC2016"


def main(layer):
    problems, count = [], {"files": 0, "python": 0, "shell": 0}
    for path in [*pathlib.Path(layer).rglob("*.bb*"), *pathlib.Path(layer).rglob("*.inc")]:
        if path.is_file():
            # `def` of a recipe or class is there for all its functions.
            KNOWN.update(re.findall(r"^def (\w+)\(", path.read_text(errors="replace"), re.MULTILINE))
    for path in sorted(p for p in pathlib.Path(layer).rglob("*") if p.suffix in (".bb", ".bbappend", ".bbclass", ".inc", ".conf")):
        if "files" in path.parts:
            continue
        count["files"] += 1
        try:
            statements = read(path)
        except (SyntaxError, bb.parse.ParseError) as error:
            problems.append(f"{path}: {str(error)[:200]}")
            continue
        for statement in statements:
            if isinstance(statement, ast.MethodNode) and not statement.python:
                count["shell"] += 1
                problems += shell(path, statement)
            elif isinstance(statement, (ast.MethodNode, ast.PythonMethodNode)):
                count["python"] += 1
                problems += python(path, statement)
    print(*problems, sep="\n", end="\n" if problems else "", file=sys.stderr)
    if problems:
        sys.exit(1)
    print(f"bitbake's parser: {count['files']} files, {count['python']} Python and {count['shell']} shell functions are clean")


def read(path):
    """The statements of a file, by the parser that bitbake has for its kind."""
    if path.suffix == ".conf" or (path.suffix == ".inc" and "conf" in path.parts):
        return configuration(path)
    return bbhandler.get_statements(str(path), str(path.resolve()), path.stem)


def configuration(path):
    statements = ast.StatementGroup()
    text = path.read_text().split("\n")
    number = 0
    while number < len(text):
        line, begin = text[number].strip(), number + 1
        number += 1
        if not line or line.startswith("#"):
            continue
        while line.endswith("\\") and number < len(text):
            line = line[:-1] + text[number].rstrip()
            number += 1
        confhandler.feeder(begin, line, str(path), statements, conffile=True)
    return statements


def python(path, node):
    if isinstance(node, ast.PythonMethodNode):
        source = "\n".join(node.body)
    else:
        source = "def f(d):\n" + "\n".join(line or "" for line in node.body) + "\n"
    said = Said()
    api.check(source, str(path), reporter.Reporter(said, said))
    return [line for line in said.lines if not any(f"undefined name '{name}'" in line for name in KNOWN)]


class Said:
    """Where pyflakes writes to."""

    def __init__(self):
        self.lines = []

    def write(self, text):
        self.lines += [line for line in text.split("\n") if line]


def shell(path, node):
    body = re.sub(r"\$\{@[^}]*\}", "inline", "\n".join(node.body))
    # ${VAR-with-dash} and ${A:B} are bitbake's, and gone before a shell sees the text.
    body = re.sub(r"\$\{([^}]*)\}", lambda m: "${" + re.sub(r"\W", "_", m.group(1)) + "}", body)
    run = subprocess.run(["shellcheck", "--shell=sh", "--severity=warning", "-e", SHELL_EXCUSED, "-f", "gcc", "-"],
                         input=f"{re.sub(r'[^a-z_]', '_', node.func_name)}() {{\n{body}\n}}\n", text=True, capture_output=True)
    return [f"{path}: {node.func_name}: {line}" for line in run.stdout.splitlines()]


if __name__ == "__main__":
    main(sys.argv[1])
