"""Makes TUF repositories with python-tuf, each a folder with a first root and a file that says what is in it.

Usage: tuf_repositories.py OUT

OUT/NAME/first-root.json   what a client starts with
OUT/NAME/metadata/         served as the metadata URL
OUT/NAME/targets/          served as the URL of Targets
                           (files of both are named as they are asked for, percent-quoted)
OUT/NAME/expect.json       {"targets": {name: role or null}}: who speaks for each Target, null: nobody
"""

import hashlib
import json
import os
import runpy
import shutil
import subprocess
import sys
import tarfile
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import quote

import tuf
from cryptography.hazmat.primitives.asymmetric import rsa
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

LATER = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=30)
TOP = ["root", "timestamp", "snapshot", "targets"]


def signer(kind):
    """A new key: ed25519, ecdsa, or rsa with a number of bits."""
    if kind == "ed25519":
        return CryptoSigner.generate_ed25519()
    if kind == "ecdsa":
        return CryptoSigner.generate_ecdsa()
    return CryptoSigner(rsa.generate_private_key(65537, int(kind.removeprefix("rsa"))))


class Repository:
    """The four roles and any delegated ones, with their signers."""

    def __init__(self, name, kinds=("ed25519",), threshold=1, consistent=True, hashes=False, compact=True):
        self.name, self.consistent, self.hashes, self.compact = name, consistent, hashes, compact
        self.signers = {role: [signer(kind) for kind in kinds] for role in TOP}
        root = Root(version=1, expires=LATER, consistent_snapshot=consistent)
        for role, signers in self.signers.items():
            for one in signers:
                root.add_key(one.public_key, role)
            root.roles[role].threshold = threshold
        self.roots = [Metadata(root)]
        self.roles = {
            "targets": Metadata(Targets(version=1, expires=LATER)),
            "snapshot": Metadata(Snapshot(version=1, expires=LATER)),
            "timestamp": Metadata(Timestamp(version=1, expires=LATER)),
        }
        self.files, self.expect = {}, {}

    def add(self, role, path, content=None, algorithms=("sha256",), speaks=True):
        content = f"{role} {path}".encode() if content is None else content
        self.roles[role].signed.targets[path] = TargetFile.from_data(path, content, list(algorithms))
        if speaks:
            self.files[path] = content
            self.expect[path] = role

    def missing(self, path):
        self.expect[path] = None

    def new_role(self, name, signers):
        self.signers[name] = signers
        self.roles[name] = Metadata(Targets(version=1, expires=LATER))

    def delegate(self, delegator, name, kinds=("ed25519",), threshold=1, terminating=False, paths=None, prefixes=None):
        signers = [signer(kind) for kind in kinds]
        self.new_role(name, signers)
        keyids = [one.public_key.keyid for one in signers]
        role = DelegatedRole(name, keyids, threshold, terminating, paths, prefixes)
        signed = self.roles[delegator].signed
        if signed.delegations is None:
            signed.delegations = Delegations({}, {})
        signed.delegations.roles[name] = role
        for one in signers:
            signed.delegations.keys[one.public_key.keyid] = one.public_key

    def delegate_bins(self, delegator, prefix, bits):
        one = signer("ed25519")
        bins = SuccinctRoles([one.public_key.keyid], 1, bits, prefix)
        self.roles[delegator].signed.delegations = Delegations({one.public_key.keyid: one.public_key}, None, bins)
        for name in bins.get_roles():
            self.new_role(name, [one])
        return bins

    def rotate_root(self):
        """A new root key, signed by the old and the new one."""
        new = signer("ed25519")
        root = Metadata.from_bytes(self.roots[-1].to_bytes()).signed
        old = self.signers["root"]
        for one in old:
            root.revoke_key(one.public_key.keyid, "root")
        root.add_key(new.public_key, "root")
        root.roles["root"].threshold = 1
        root.version += 1
        metadata = Metadata(root)
        for one in [*old, new]:
            metadata.sign(one, append=True)
        self.signers["root"] = [new]
        self.roots.append(metadata)

    def write(self, out):
        folder = Path(out, self.name)
        metadata = folder / "metadata"
        metadata.mkdir(parents=True)
        serializer = JSONSerializer(compact=self.compact)
        if not self.roots[0].signatures:
            self.sign(self.roots[0], "root")
        for root in self.roots:
            root.to_file(str(metadata / f"{root.signed.version}.root.json"), serializer)
        shutil.copy(metadata / "1.root.json", folder / "first-root.json")
        targets = [role for role in self.roles if role not in TOP or role == "targets"]
        listed = {role: self.write_role(metadata, role, serializer) for role in targets}
        self.roles["snapshot"].signed.meta = {f"{role}.json": meta for role, meta in listed.items()}
        self.roles["timestamp"].signed.snapshot_meta = self.write_role(metadata, "snapshot", serializer)
        self.write_role(metadata, "timestamp", serializer)
        self.write_targets(folder / "targets")
        (folder / "expect.json").write_text(json.dumps({"targets": self.expect}))

    def sign(self, metadata, role):
        for one in self.signers[role]:
            metadata.sign(one, append=True)

    def write_role(self, folder, role, serializer):
        metadata = self.roles[role]
        self.sign(metadata, role)
        data = metadata.to_bytes(serializer)
        version = metadata.signed.version
        prefix = f"{version}." if self.consistent and role != "timestamp" else ""
        (folder / f"{prefix}{quote(role, safe='')}.json").write_bytes(data)
        return MetaFile.from_data(version, data, ["sha256", "sha512"]) if self.hashes else MetaFile(version)

    def write_targets(self, folder):
        for path, content in self.files.items():
            info = self.roles[self.expect[path]].signed.targets[path]
            parent, name = os.path.split(path)
            digest = info.hashes.get("sha256") or next(iter(info.hashes.values()))
            file = Path(folder, quote(parent), quote(f"{digest}.{name}" if self.consistent else name))
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)


def key_types(out):
    for kind in ["ed25519", "ecdsa", "rsa2048", "rsa3072", "rsa4096"]:
        repository = Repository(f"key-{kind}", [kind])
        repository.add("targets", "a")
        repository.write(out)
    repository = Repository("key-mixed", ["ed25519", "ecdsa", "rsa2048"], threshold=3)
    repository.delegate("targets", "d", ["ecdsa", "rsa2048"], threshold=2, paths=["d/*"])
    repository.add("d", "d/a")
    repository.write(out)


def layouts(out):
    for consistent in [True, False]:
        for hashes in [True, False]:
            name = f"layout-{'consistent' if consistent else 'plain'}-{'hashes' if hashes else 'versions'}"
            repository = Repository(name, consistent=consistent, hashes=hashes, compact=hashes)
            repository.add("targets", "a")
            repository.add("targets", "folder/b", b"", ["sha512"])
            repository.add("targets", "c", os.urandom(300_000), ["sha256", "sha512"])
            repository.delegate("targets", "d", paths=["d/*"])
            repository.add("d", "d/x")
            for _ in range(3):
                if not repository.roots[0].signatures:
                    repository.sign(repository.roots[0], "root")
                repository.rotate_root()
            repository.write(out)


def delegations(out):
    repository = Repository("delegations")
    repository.delegate("targets", "first", paths=["*.doc", "foo-?.tgz", "[ab]/x"])
    repository.delegate("targets", "second", paths=["releases/*/*"])
    repository.delegate("second", "third", paths=["releases/x/*"])
    repository.delegate("second", "ünï/../cödé", paths=["releases/y/*.zip"])
    repository.delegate("targets", "last", terminating=True, paths=["t/*", "both"])
    repository.delegate("targets", "never", paths=["t/*", "n", "both"])
    repository.add("targets", "top")
    repository.add("first", "README.doc")
    repository.add("first", "foo-1.tgz")
    repository.add("first", "b/x")
    repository.add("first", "nested/README.doc", speaks=False)
    repository.add("third", "releases/x/1")
    repository.add("ünï/../cödé", "releases/y/1.zip")
    repository.add("ünï/../cödé", "releases/z/1.zip", speaks=False)
    repository.add("last", "both")
    repository.add("never", "both", b"another", speaks=False)
    repository.add("never", "t/x", speaks=False)
    repository.add("never", "n")
    for path in ["nested/README.doc", "releases/z/1.zip", "t/x", "foo-11.tgz", "c/x", "none"]:
        repository.missing(path)
    repository.write(out)


def bins(out):
    names = [f"file-{number}" for number in range(20)] + ["ä ö/ü?#%.bin"]
    for bits in [1, 4, 5]:
        repository = Repository(f"bins-{bits}", hashes=True)
        for_bins = repository.delegate_bins("targets", "bin", bits)
        for name in names:
            repository.add(for_bins.get_role_for_target(name), name)
        repository.missing("other")
        repository.write(out)
    repository = Repository("hash-prefixes")
    for digit in "0123456789abcdef":
        repository.delegate("targets", f"p{digit}", prefixes=[digit])
    for name in names:
        repository.add("p" + hashlib.sha256(name.encode()).hexdigest()[0], name)
    repository.missing("other")
    repository.write(out)


def examples(out, source):
    """The repositories that python-tuf's own example scripts make."""
    scripts = Path(source, "examples", "manual_repo")
    for script in ["hashed_bin_delegation", "succinct_hash_bin_delegations", "basic_repo"]:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            made = runpy.run_path(str(scripts / f"{script}.py"))
            os.chdir("/")
            made_files = list(Path(made["TMP_DIR"]).iterdir())
            if script == "basic_repo":
                write_basic_example(out, made, made_files)
            else:
                write_bin_example(out, script, made, made_files)


def write_basic_example(out, made, made_files):
    folder = Path(out, "example-basic_repo")
    for name in ["metadata", "targets"]:
        (folder / name).mkdir(parents=True)
    for file in made_files:
        shutil.copy(file, folder / "metadata")
    shutil.copy(folder / "metadata" / "1.root.json", folder / "first-root.json")
    info = made["target_file_info"]
    path = folder / "targets" / Path(info.path).parent
    path.mkdir()
    shutil.copy(made["local_path"], path / f"{info.hashes['sha256']}.{Path(info.path).name}")
    (folder / "expect.json").write_text(json.dumps({"targets": {info.path: "python-scripts"}}))


def write_bin_example(out, script, made, made_files):
    """These two make targets roles only: the other three roles are put beside them."""
    repository = Repository(f"example-{script}")
    found = {file.name.split(".", 1)[1].removesuffix(".json"): Metadata.from_file(str(file)) for file in made_files}
    if "targets" not in found:
        # `bins` is the top of this example; a targets role delegates everything to it.
        top = Metadata(Targets(version=1, expires=LATER))
        key = made["signers"]["bins"].public_key
        role = DelegatedRole("bins", [key.keyid], 1, True, ["*", "*/*"])
        top.signed.delegations = Delegations({key.keyid: key}, {"bins": role})
        repository.sign(top, "targets")
        repository.roles["targets"] = top
    else:
        one = made["targets_signer"]
        root = repository.roots[0].signed
        for old in repository.signers["targets"]:
            root.revoke_key(old.public_key.keyid, "targets")
        root.add_key(one.public_key, "targets")
        repository.roles["targets"] = found.pop("targets")
        repository.signers["targets"] = []
    for name, metadata in found.items():
        repository.signers[name] = []
        repository.roles[name] = metadata
        for path, info in metadata.signed.targets.items():
            repository.expect[path] = name
    repository.missing("no such Target")
    contents = {path: Path(made["__file__"]).read_bytes() for path in repository.expect if repository.expect[path]}
    repository.files = contents
    repository.write(out)


# Python before 3.11.4, and so Debian 12, has no such filter; the archive is one whose sum pip checked.
SAFE = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}


def sources():
    """python-tuf's source archive beside this environment: its examples are not in what pip installs."""
    folder = Path(sys.executable).parent.parent / "source"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=folder.parent) as fresh:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
            wanted = [f"tuf=={tuf.__version__}", "--no-binary", "tuf", "--dest", fresh]
            subprocess.run([*pip, *wanted], check=True)
            archive = next(Path(fresh).glob("tuf-*.tar.gz"))
            with tarfile.open(archive) as opened:
                opened.extractall(fresh, **SAFE)
            # One move, so that it is whole or not there.
            Path(fresh, archive.name.removesuffix(".tar.gz")).rename(folder)
    return folder


def main():
    out = sys.argv[1]
    for make in [key_types, layouts, delegations, bins]:
        make(out)
    examples(out, sources())


main()
