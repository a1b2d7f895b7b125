"""Makes repositories in the ATS dialect (Uptane and Foundries servers) from the rules alone, without our code.

Usage: ats_repositories.py OUT        (folders as tuf_repositories.py makes them)
"""

import base64
import hashlib
import json
import sys
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from securesystemslib.formats import encode_canonical

LATER = "2038-01-31T00:00:00Z"


def ascii_form(value):
    """What aktualizr's servers sign."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def olpc_form(value):
    """What Foundries' own tools sign."""
    return encode_canonical(value).encode()


class Key:
    def __init__(self, kind):
        self.kind = kind
        if kind == "ED25519":
            self.private = ed25519.Ed25519PrivateKey.generate()
            raw = serialization.Encoding.Raw, serialization.PublicFormat.Raw
            self.public = self.private.public_key().public_bytes(*raw).hex()
        else:
            self.private = rsa.generate_private_key(65537, 2048) if kind == "RSA" else ec.generate_private_key(ec.SECP256R1())
            pem = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            self.public = self.private.public_key().public_bytes(*pem).decode()
        # Over the canonical form of the text, without the newline at its end.
        self.id = hashlib.sha256(ascii_form(self.public.rstrip("\n"))).hexdigest()
        self.object = {"keytype": kind, "keyval": {"public": self.public}}

    def signature(self, data, method):
        if self.kind == "ED25519":
            sig = self.private.sign(data)
        elif self.kind == "RSA":
            pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
            sig = self.private.sign(data, pss, hashes.SHA256())
        else:
            sig = self.private.sign(data, ec.ECDSA(hashes.SHA256()))
        return {"keyid": self.id, "method": method, "sig": base64.b64encode(sig).decode()}


METHODS = {"ED25519": "ed25519", "RSA": "rsassa-pss-sha256", "ECPRIME256V1": "ecPrime256v1"}


def make(out, name, kind, form, hashed, pretty, method=None):
    folder = Path(out, name)
    for part in ["metadata/delegations", "targets"]:
        (folder / part).mkdir(parents=True)
    keys = {role: Key(kind) for role in ["root", "timestamp", "snapshot", "targets", "deleg ü"]}
    method = method or METHODS[kind]

    def write(path, role, signed, extra=()):
        data = form(signed)
        signers = [keys[role], *extra]
        document = {"signatures": [one.signature(data, method) for one in signers], "signed": signed}
        # The OLPC form of a PEM key has a raw newline in a string, which is no JSON. Foundries' tools write it so.
        text = json.dumps(document, indent=2) if pretty else form(document).decode()
        (folder / "metadata" / path).write_text(text, newline="")
        body = form(document) if hashed == "canonical" else text.encode()
        digests = {"sha256": hashlib.sha256(body).hexdigest(), "sha512": hashlib.sha512(body).hexdigest()}
        return {"version": signed["version"], "length": len(body), "hashes": digests}

    def head(kind, version=1):
        return {"_type": kind, "version": version, "expires": LATER}

    def root(version):
        top = ["root", "timestamp", "snapshot", "targets"]
        roles = {role: {"keyids": [keys[role].id], "threshold": 1} for role in top}
        listed = {keys[role].id: keys[role].object for role in top}
        # Foundries writes a change log here; consistent_snapshot is set and never obeyed.
        extra = {"consistent_snapshot": True, "x-changelog": {"by": "Zoë\n", "n": 1}}
        return head("Root", version) | {"keys": listed, "roles": roles} | extra

    write("1.root.json", "root", root(1))
    old = keys["root"]
    keys["root"] = Key(kind)
    write("2.root.json", "root", root(2), [old])

    def target(content):
        digests = {"sha256": hashlib.sha256(content).hexdigest(), "sha512": hashlib.sha512(content).hexdigest()}
        return {"length": len(content), "hashes": digests, "custom": {"name": "é", "version": "1"}}

    contents = {"board-1": b"one", "d/x/y": b"two"}
    deleg = keys["deleg ü"]
    delegation = {"name": "deleg ü", "keyids": [deleg.id], "threshold": 1, "terminating": False, "paths": ["d/*"]}
    delegations = {"keys": {deleg.id: deleg.object}, "roles": [delegation]}
    top = head("Targets") | {"targets": {"board-1": target(b"one")}, "delegations": delegations}
    listed = {
        "targets.json": write("targets.json", "targets", top),
        "deleg ü.json": write("delegations/deleg%20%C3%BC.json", "deleg ü", head("Targets") | {"targets": {"d/x/y": target(b"two")}}),
    }
    snapshot = write("snapshot.json", "snapshot", head("Snapshot") | {"meta": listed})
    write("timestamp.json", "timestamp", head("Timestamp") | {"meta": {"snapshot.json": snapshot}})
    for path, content in contents.items():
        file = folder / "targets" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    (folder / "metadata" / "1.root.json").rename(folder / "first-root.json")
    expect = {"board-1": "targets", "d/x/y": "deleg ü", "none": None}
    (folder / "expect.json").write_text(json.dumps({"targets": expect}))


def main():
    out = sys.argv[1]
    for kind in ["ED25519", "RSA", "ECPRIME256V1"]:
        for form in [ascii_form, olpc_form]:
            for hashed in ["bytes", "canonical"]:
                make(out, f"{kind}-{form.__name__}-{hashed}", kind, form, hashed, pretty=form is ascii_form)
    make(out, "RSA-short-method", "RSA", ascii_form, "bytes", False, "rsassa-pss")


main()
