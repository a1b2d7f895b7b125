"""Makes two states of one repository: OUT/one and OUT/two, each with metadata/ and targets/.

The second state has version 2 of every role. Usage: tuf_states.py OUT
"""

import shutil
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import quote

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

LATER = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=30)
NAMES = ["file", "empty", "../escape", "..", "/absolute", "a/../../b", ".hidden"]


def main():
    out = Path(sys.argv[1])
    names = ["root", "timestamp", "snapshot", "targets", "d"]
    signers = {name: CryptoSigner.generate_ed25519() for name in names}
    root = Root(version=1, expires=LATER, consistent_snapshot=True)
    for name in names[:4]:
        root.add_key(signers[name].public_key, name)
    keyid = signers["d"].public_key.keyid
    role = DelegatedRole("d", [keyid], 1, False, ["d/*"])
    targets = Targets(version=1, expires=LATER, delegations=Delegations({keyid: signers["d"].public_key}, {"d": role}))
    delegated = Targets(version=1, expires=LATER)
    snapshot, timestamp = Snapshot(version=1, expires=LATER), Timestamp(version=1, expires=LATER)
    signed = {"root": root, "timestamp": timestamp, "snapshot": snapshot, "targets": targets, "d": delegated}

    for version, state in [(1, "one"), (2, "two")]:
        metadata, files = out / state / "metadata", out / state / "targets"
        metadata.mkdir(parents=True)
        files.mkdir()
        for role in signed.values():
            role.version = version
        for name in NAMES:
            content = b"" if name == "empty" else f"{name} {version}\n".encode() * 1000
            add(targets, files, name, content)
        add(delegated, files, "d/file", b"delegated" * version)
        for name in ["targets", "d"]:
            snapshot.meta[f"{name}.json"] = MetaFile(version)
        timestamp.snapshot_meta = MetaFile(version)
        for name, role in signed.items():
            one = Metadata(role)
            one.sign(signers[name])
            prefix = "" if name == "timestamp" else f"{version}."
            one.to_file(str(metadata / f"{prefix}{name}.json"), JSONSerializer(compact=False))
    shutil.copy(out / "one" / "metadata" / "1.root.json", out / "two" / "metadata")


def add(role, files, name, content):
    info = TargetFile.from_data(name, content, ["sha256"])
    role.targets[name] = info
    parent, _, file = name.rpartition("/")
    # Where the URL leads: the server of these tests joins paths as they are asked for, dots and all.
    folder = Path(files, parent.lstrip("/"))
    for part in [*reversed(folder.parents), folder]:
        part.mkdir(exist_ok=True)
    (folder / f"{info.hashes['sha256']}.{quote(file)}").write_bytes(content)


main()
