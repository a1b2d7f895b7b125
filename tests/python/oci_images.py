#!/usr/bin/env python3
"""Makes small images of Debian's static busybox, and brings them to a registry: what a build server does with its tools.

    oci_images.py --registry HOST:PORT --ca CA.crt REPOSITORY:TAG VERSION [--random BYTES] [--login USER:PASSWORD] [--app COMPOSE_FILE [--usage LAYER=BYTES]]

An image has two layers, busybox and a file /version (with so many random bytes beside it). Prints NAME@DIGEST. Only the standard
library is needed.
"""

import argparse
import base64
import gzip
import hashlib
import io
import json
import os
import ssl
import tarfile
import urllib.error
import urllib.request

BUSYBOX = "/bin/busybox"
LINKS = ["sh", "sleep", "echo", "cat", "httpd", "wget", "test", "true", "false", "ls"]
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def layer(files, links=()):
    """A layer's tar, packed; the same files give the same bytes."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, (data, mode) in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), mode
            tar.addfile(info, io.BytesIO(data))
        for name, to in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, to
            tar.addfile(info)
    data = raw.getvalue()
    return gzip.compress(data, mtime=0, compresslevel=6), digest(data)


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def image(version, extra=b""):
    """{digest: bytes} of an image's blobs, and its manifest."""
    with open(BUSYBOX, "rb") as file:
        base = layer({"bin/busybox": (file.read(), 0o755), "tmp/.keep": (b"", 0o644)}, [(f"bin/{name}", "busybox") for name in LINKS])
    top = layer({"version": (f"{version}\n".encode(), 0o644), "www/index.html": (f"{version}\n".encode(), 0o644), "extra": (extra, 0o644)})
    config = json.dumps(
        {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
            "os": "linux",
            "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [base[1], top[1]]},
            "history": [{"created_by": "busybox"}, {"created_by": version}],
        }
    ).encode()
    blobs = {digest(data): data for data in (config, base[0], top[0])}
    described = [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest(data), "size": len(data)} for data, _ in (base, top)]
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(config), "size": len(config)},
        "layers": described,
    }
    return blobs, json.dumps(manifest).encode()


def app(compose, usage=()):
    """The same of a Compose app with this file, unchecked; with what layers take on a disk where that is given."""
    archive = layer({"docker-compose.yml": (compose, 0o644)})[0]
    blobs = {digest(data): data for data in (archive, b"{}")}
    described = [{"mediaType": "application/octet-stream", "digest": digest(archive), "size": len(archive)}]
    if usage:
        layers = {name: {"size": int(taken), "usage": int(taken)} for name, taken in usage}
        meta = json.dumps({architecture: {"fs_block_size": 4096, "layers": layers} for architecture in ("amd64", "arm64")}).encode()
        blobs[digest(meta)] = meta
        entry = {"mediaType": "application/json", "digest": digest(meta), "size": len(meta), "annotations": {"layers-meta": "v1"}}
        described.append(entry)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/vnd.fio+compose-app",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest(b"{}"), "size": 2},
        "layers": described,
    }
    return blobs, json.dumps(manifest).encode()


class Registry:
    """The parts of the registry's protocol that a push needs."""

    def __init__(self, host, ca, login=None):
        self._base = f"https://{host}"
        self._context = ssl.create_default_context(cafile=ca)
        self._login = login

    def push(self, repository, tag, blobs, manifest):
        for name, data in blobs.items():
            start = self._ask("POST", f"/v2/{repository}/blobs/uploads/")
            location = start.headers["Location"]
            self._ask("PUT", location + ("&" if "?" in location else "?") + f"digest={name}", data, "application/octet-stream")
        self._ask("PUT", f"/v2/{repository}/manifests/{tag}", manifest, MANIFEST)
        return digest(manifest)

    def _ask(self, method, path, data=b"", kind=None):
        url = path if path.startswith("https://") else self._base + path
        request = urllib.request.Request(url, data=data, method=method)
        if kind:
            request.add_header("Content-Type", kind)
        if self._login:
            request.add_header("Authorization", "Basic " + base64.b64encode(self._login.encode()).decode())
        return urllib.request.urlopen(request, context=self._context)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--registry", required=True)
    parser.add_argument("--ca", required=True)
    parser.add_argument("--login")
    parser.add_argument("--random", type=int, default=0)
    parser.add_argument("--app", help="a Compose file: an app instead of an image")
    parser.add_argument("--usage", action="append", default=[], type=lambda text: text.split("="))
    parser.add_argument("place")
    parser.add_argument("version")
    args = parser.parse_args()
    repository, _, tag = args.place.partition(":")
    if args.app:
        with open(args.app, "rb") as file:
            blobs, manifest = app(file.read(), args.usage)
    else:
        blobs, manifest = image(args.version, os.urandom(args.random))
    name = Registry(args.registry, args.ca, args.login).push(repository, tag or "latest", blobs, manifest)
    print(f"{args.registry}/{repository}@{name}")


if __name__ == "__main__":
    main()
