"""Makes a repository of the ATS dialect with many OSTree Targets, to measure with: many_targets.py OUT COUNT

Prints the size of its targets.json in bytes.
"""

import base64
import hashlib
import json
import sys
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519


def form(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def head(kind):
    return {"_type": kind, "version": 1, "expires": "2038-01-31T00:00:00Z"}


def target(number):
    custom = {
        "name": "intel-corei7-64-lmp",
        "version": str(number),
        "hardwareIds": ["intel-corei7-64"],
        "tags": ["main"],
        "targetFormat": "OSTREE",
        "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": "2026-01-01T00:00:00Z",
    }
    return {"length": 0, "hashes": {"sha256": hashlib.sha256(str(number).encode()).hexdigest()}, "custom": custom}


def main():
    out, count = Path(sys.argv[1]), int(sys.argv[2])
    out.mkdir(parents=True)
    key = ed25519.Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw).hex()

    def write(name, signed):
        sig = base64.b64encode(key.sign(form(signed))).decode()
        data = form({"signatures": [{"keyid": "k", "method": "ed25519", "sig": sig}], "signed": signed})
        (out / name).write_bytes(data)
        return {"version": 1, "length": len(data), "hashes": {"sha256": hashlib.sha256(data).hexdigest()}}

    roles = {role: {"keyids": ["k"], "threshold": 1} for role in ["root", "timestamp", "snapshot", "targets"]}
    keys = {"k": {"keytype": "ED25519", "keyval": {"public": public}}}
    write("1.root.json", head("Root") | {"keys": keys, "roles": roles})
    targets = {f"intel-corei7-64-lmp-{number}": target(number) for number in range(count)}
    listed = write("targets.json", head("Targets") | {"targets": targets})
    snapshot = write("snapshot.json", head("Snapshot") | {"meta": {"targets.json": listed}})
    write("timestamp.json", head("Timestamp") | {"meta": {"snapshot.json": snapshot}})
    print(listed["length"])


main()
