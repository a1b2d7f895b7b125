"""Does what a TUF client does on a repository, with python-tuf, and prints what it trusts as JSON.

check_repo.py METADATA_URL STATE_FOLDER FIRST_ROOT [TARGET...]

STATE_FOLDER is kept from run to run, as a device keeps its trusted metadata. FIRST_ROOT is used when it is empty.
A name that is no Target gives null.
"""

import json
import sys
from pathlib import Path

from tuf.ngclient import Updater


def main(url: str, state: str, first_root: str, *names: str) -> None:
    folder = Path(state)
    folder.mkdir(parents=True, exist_ok=True)
    bootstrap = None if (folder / "root.json").exists() else Path(first_root).read_bytes()
    updater = Updater(
        metadata_dir=state,
        metadata_base_url=url,
        target_dir=state,
        target_base_url=url,
        bootstrap=bootstrap,
    )
    updater.refresh()
    result = {"versions": {}, "targets": {}}
    for role in ("root", "timestamp", "snapshot", "targets"):
        document = json.loads((folder / f"{role}.json").read_bytes())
        result["versions"][role] = document["signed"]["version"]
    for name in names:
        info = updater.get_targetinfo(name)
        result["targets"][name] = info.to_dict() if info else None
    print(json.dumps(result))


main(*sys.argv[1:])
