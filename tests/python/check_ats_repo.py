"""Checks a published folder in the ATS dialect without any code of ours, and prints what it found as JSON.

check_ats_repo.py METADATA_FOLDER

The rules: canonical form as the compact json module writes it, ids over the public string, base64 signatures, hashes over
the canonical form of whole documents, root N+1 signed by the keys of N and its own.
"""

import base64
import hashlib
import json
import re
import sys
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding


def canonical(value) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def digest(value) -> str:
    return hashlib.sha256(canonical(value)).hexdigest()


def verify_one(key, signature, message) -> None:
    public = key["keyval"]["public"]
    raw = base64.b64decode(signature["sig"], validate=True)
    if key["keytype"] == "ED25519":
        assert signature["method"] == "ed25519", signature
        ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(raw, message)
    else:
        assert (key["keytype"], signature["method"]) == ("RSA", "rsassa-pss-sha256"), signature
        pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
        loaded = serialization.load_pem_public_key(public.encode())
        loaded.verify(raw, message, pss, hashes.SHA256())


def verify(document, root, role: str) -> None:
    keys, rule = root["keys"], root["roles"][role]
    message = canonical(document["signed"])
    valid = set()
    for signature in document["signatures"]:
        assert signature["keyid"] not in valid, "a key signed twice"
        if signature["keyid"] in rule["keyids"]:
            verify_one(keys[signature["keyid"]], signature, message)
            valid.add(signature["keyid"])
    assert len(valid) >= rule["threshold"], f"{role}: {len(valid)} of {rule['threshold']}"


def check_shape(signed, kind: str) -> None:
    assert signed["_type"] == kind, signed["_type"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", signed["expires"]), signed["expires"]
    assert "spec_version" not in signed


def main(folder: str) -> None:
    def load(name: str):
        raw = (Path(folder) / name).read_bytes()
        document = json.loads(raw)
        assert raw == canonical(document), f"{name} is not published in its canonical form"
        return document

    number = 1
    document = load("1.root.json")
    root = document["signed"]
    while True:
        check_shape(root, "Root")
        assert root["version"] == number
        verify(document, root, "root")
        for keyid, key in root["keys"].items():
            assert keyid == digest(key["keyval"]["public"].rstrip("\n")), keyid
            assert set(key) == {"keytype", "keyval"}, key
        if not (Path(folder) / f"{number + 1}.root.json").exists():
            break
        number += 1
        document = load(f"{number}.root.json")
        verify(document, root, "root")
        root = document["signed"]

    timestamp, snapshot, targets = (load(f"{role}.json") for role in ("timestamp", "snapshot", "targets"))
    for document, role in ((timestamp, "timestamp"), (snapshot, "snapshot"), (targets, "targets")):
        check_shape(document["signed"], role.capitalize())
        verify(document, root, role)
    for parent, name, child in ((timestamp, "snapshot.json", snapshot), (snapshot, "targets.json", targets)):
        meta = parent["signed"]["meta"][name]
        assert meta["version"] == child["signed"]["version"], name
        assert meta["hashes"]["sha256"] == digest(child), name
        assert meta["length"] == len(canonical(child)), name
    print(json.dumps({"root": number, "targets": targets["signed"]["targets"]}))


main(*sys.argv[1:])
