"""Reads a dumped kas configuration: every repository with an address must have a commit in one of kas/*.lock.yml."""

import pathlib
import sys

import yaml

name = sys.argv[1]
configuration = yaml.safe_load(sys.stdin)
if not configuration:
    sys.exit(f"{name}: kas could not read it")
locked = {}
for lock in sorted(pathlib.Path("kas").glob("*.lock.yml")):
    locked.update(yaml.safe_load(lock.read_text())["overrides"]["repos"])
fetched = {repo: entry for repo, entry in configuration["repos"].items() if entry and "url" in entry}
unpinned = [repo for repo in fetched if "commit" not in locked.get(repo, {})]
if unpinned:
    sys.exit(f"{name}: no commit in a lock file for {', '.join(unpinned)}: kas lock {name}")
print(f"{name}: machine {configuration.get('machine')}, distro {configuration.get('distro')}, {len(fetched)} repositories pinned")
