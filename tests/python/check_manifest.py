"""Checks what a device registered and reported, by securesystemslib's keys and without our code.

Usage: check_manifest.py ECUS.json MANIFEST.json

Prints one line for each ECU: serial, key type, scheme, key id.
"""

import base64
import hashlib
import json
import sys

from securesystemslib.signer import SSlibKey, Signature


def canonical(value):
    """What servers of the protocol sign: sorted keys, no blanks, ASCII only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def key_of(client_key):
    text = client_key["keyval"]["public"]
    # The id of a key: over the JSON string of its text, without the newlines at the end.
    keyid = hashlib.sha256(canonical(text.rstrip("\n"))).hexdigest()
    if client_key["keytype"] == "ED25519":
        return SSlibKey(keyid, "ed25519", "ed25519", {"public": text.lower()})
    return SSlibKey(keyid, "rsa", "rsassa-pss-sha256", {"public": text})


METHODS = {"ed25519": "ed25519", "rsassa-pss-sha256": "rsassa-pss"}


def verify(key, envelope):
    (signature,) = envelope["signatures"]
    assert signature["keyid"] == key.keyid, (signature["keyid"], key.keyid)
    assert signature["method"] == METHODS[key.scheme], signature["method"]
    raw = base64.b64decode(signature["sig"], validate=True)
    key.verify_signature(Signature(key.keyid, raw.hex()), canonical(envelope["signed"]))
    # A check that takes anything is none.
    try:
        key.verify_signature(Signature(key.keyid, raw.hex()), canonical(envelope["signed"]) + b" ")
    except Exception:  # pylint: disable=broad-except
        return
    raise SystemExit("another text has the same signature")


def main(ecus_path, manifest_path):
    with open(ecus_path, "rb") as file:
        registration = json.load(file)
    with open(manifest_path, "rb") as file:
        raw = file.read()
    manifest = json.loads(raw)
    # It is sent as it is signed.
    assert raw == canonical(manifest), "the body is not in canonical form"
    keys = {ecu["ecu_serial"]: key_of(ecu["clientKey"]) for ecu in registration["ecus"]}
    primary = registration["primary_ecu_serial"]
    assert manifest["signed"]["primary_ecu_serial"] == primary
    verify(keys[primary], manifest)
    versions = manifest["signed"]["ecu_version_manifests"]
    assert versions.keys() == keys.keys(), (versions.keys(), keys.keys())
    for serial, envelope in sorted(versions.items()):
        assert envelope["signed"]["ecu_serial"] == serial
        key = keys[serial]
        verify(key, envelope)
        print(serial, key.keytype, key.scheme, key.keyid)


main(*sys.argv[1:])
