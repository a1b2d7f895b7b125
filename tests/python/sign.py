"""Signs a TUF repository with python-tuf and securesystemslib, for tests of the client.

sign.py REPO KEYS STEP

REPO gets the metadata with consistent snapshots; KEYS keeps the private keys from step to step. STEP is a JSON
object: version (of timestamp, snapshot and targets), targets ({name: {"commit", "custom"}}), and optionally root
(version of a new root, with new keys for the roles in `rotate`), expired (a role), unsigned (a role that gets too few
signatures), delegated ({role: {"tags", "paths", "targets"}}, roles by tag in this order).
"""

import json
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import DelegatedRole, Delegations, Key, Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

GENERATE = {
    "ed25519": CryptoSigner.generate_ed25519,
    "rsa": CryptoSigner.generate_rsa,
    "ecdsa": CryptoSigner.generate_ecdsa,
}
# The types of the keys of each role, and how many must sign.
ROLES = {
    "root": (["ed25519", "rsa", "ecdsa"], 2),
    "timestamp": (["ed25519"], 1),
    "snapshot": (["ecdsa"], 1),
    "targets": (["rsa", "ed25519"], 2),
}


class Keys:
    """Private keys in a folder, one a file, so that a later step can sign as an earlier one did."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def signers(self, role: str, generation: int) -> list[CryptoSigner]:
        kinds = ROLES[role][0]
        return [self.signer(f"{role}-{generation}-{index}", kind) for index, kind in enumerate(kinds)]

    def signer(self, name: str, kind: str) -> CryptoSigner:
        public, private = self.folder / f"{name}.json", self.folder / f"{name}.pem"
        if not private.exists():
            made = GENERATE[kind]()
            private.write_bytes(made.private_bytes)
            public.write_text(json.dumps({"keyid": made.public_key.keyid, **made.public_key.to_dict()}))
        described = json.loads(public.read_text())
        key = Key.from_dict(described.pop("keyid"), described)
        return CryptoSigner.from_priv_key_uri(f"file2:{private}", key)


def main(repo: Path, keys: Keys, step: dict) -> None:
    repo.mkdir(parents=True, exist_ok=True)
    history = keys.folder / "history.json"
    state = json.loads(history.read_text()) if history.exists() else {"root": 0, "generations": {}}
    while state["root"] < step.get("root", max(state["root"], 1)):
        write_root(repo, keys, state, step)
    history.write_text(json.dumps(state))
    write_roles(repo, keys, state, step)


def write_root(repo: Path, keys: Keys, state: dict, step: dict) -> None:
    before = dict(state["generations"])
    state["root"] += 1
    for role in ROLES:
        rotated = state["root"] > 1 and role in step.get("rotate", [])
        state["generations"][role] = before.get(role, 0) + (1 if rotated else 0)
    root = Root(version=state["root"], expires=expires(step, "root"), consistent_snapshot=True)
    for role, (_, threshold) in ROLES.items():
        for signer in keys.signers(role, state["generations"][role]):
            root.add_key(signer.public_key, role)
        root.roles[role].threshold = threshold
    signers = keys.signers("root", state["generations"]["root"])
    if state["root"] > 1 and before["root"] != state["generations"]["root"]:
        signers += keys.signers("root", before["root"])
    write(repo / f"{state['root']}.root.json", Metadata(root), signers, step, "root")


def write_roles(repo: Path, keys: Keys, state: dict, step: dict) -> None:
    version = step["version"]
    targets = Targets(version=version, expires=expires(step, "targets"))
    fill(targets, step["targets"])
    snapshot = Snapshot(version=version, expires=expires(step, "snapshot"))
    for name, delegated in step.get("delegated", {}).items():
        signer = keys.signer(name, "ecdsa")
        if targets.delegations is None:
            targets.delegations = Delegations({}, roles={})
        more = {"custom": {"tags": delegated["tags"]}}
        targets.delegations.roles[name] = DelegatedRole(
            name, [], 1, False, paths=delegated["paths"], unrecognized_fields=more
        )
        targets.add_key(signer.public_key, name)
        role = Targets(version=version, expires=expires(step, name))
        fill(role, delegated["targets"])
        length = write(repo / f"{version}.{name}.json", Metadata(role), [signer], step, name)
        snapshot.meta[f"{name}.json"] = MetaFile(version, length)

    def signers(role: str) -> list[CryptoSigner]:
        return keys.signers(role, state["generations"][role])

    length = write(repo / f"{version}.targets.json", Metadata(targets), signers("targets"), step, "targets")
    snapshot.meta["targets.json"] = MetaFile(version, length)
    write(repo / f"{version}.snapshot.json", Metadata(snapshot), signers("snapshot"), step, "snapshot")
    timestamp = Timestamp(version=version, expires=expires(step, "timestamp"))
    timestamp.snapshot_meta = MetaFile(version)
    write(repo / "timestamp.json", Metadata(timestamp), signers("timestamp"), step, "timestamp")


def fill(role: Targets, targets: dict) -> None:
    for name, target in targets.items():
        role.targets[name] = TargetFile(0, {"sha256": target["commit"]}, name, {"custom": target["custom"]})


def write(path: Path, metadata: Metadata, signers: list, step: dict, role: str) -> int:
    if step.get("unsigned") == role:
        signers = signers[: ROLES[role][1] - 1]
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)
    content = metadata.to_bytes(JSONSerializer())
    path.write_bytes(content)
    return len(content)


def expires(step: dict, role: str) -> datetime:
    now = datetime.now(timezone.utc).replace(microsecond=0)
    return now + timedelta(days=-1 if step.get("expired") == role else 30)


main(Path(sys.argv[1]), Keys(Path(sys.argv[2])), json.loads(sys.argv[3]))
