"""The host's side: a signed repository made by ota-repo, and ota-repo serving it with client certificates."""

import json
import os
import pathlib
import subprocess

from . import cache
from .image import PROJECT

NAME = "device"


def ota_repo():
    """The host tool. RUST_OTA_REPO names another one than cargo builds here."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or PROJECT / "target")
    named = os.environ.get("RUST_OTA_REPO")
    found = [path for path in ([pathlib.Path(named)] if named else [target / "release/ota-repo", target / "debug/ota-repo"]) if path.exists()]
    if not found:
        raise RuntimeError("no ota-repo: build it with `cargo build --bin ota-repo`, or name one in RUST_OTA_REPO")
    return max(found, key=lambda path: path.stat().st_mtime)


class Server:
    """A repository folder and its server, on a port of the loopback. `shared`: with a Director, and a credential that a fleet shares to
    reach it at this address."""

    def __init__(self, folder, hardware_id, tell=None, hosts=("ota.test",), shared=None):
        self.folder = pathlib.Path(folder) / "ota"
        self.hardware_id = hardware_id
        self.log = pathlib.Path(folder) / "requests.jsonl"
        self.log.touch()
        self._tool, self._tell = ota_repo(), tell
        self._run("init", self.folder, *(("--profile", "ats") if shared else ()))
        names = [word for host in hosts for word in ("--host", host)]
        if shared:
            self._run("director", "init", self.folder)
            names += ["--shared", shared]
        self._run("tls", self.folder, *names, "--device", "device-1")
        self._process = None
        self.port = None

    def start(self):
        argv = [self._tool, "serve", self.folder, "--listen", "127.0.0.1:0", "--tls", "--quiet", "--log", self.log]
        errors = open(self.log.parent / "server.log", "ab")
        self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True)
        errors.close()
        address = self._process.stdout.readline().strip()
        try:
            self.port = int(address.rsplit(":", 1)[1].split("/")[0])
        except (IndexError, ValueError):
            raise RuntimeError(f"ota-repo serve did not start: it said {address!r}; see {self.log.parent}/server.log") from None
        return self

    def stop(self):
        if self._process:
            self._process.terminate()
            self._process.wait()

    def publish(self, repo, commit, version, apps=None):
        """A commit, with apps by name and URI, becomes the Target device-VERSION, which devices with tag `main` see."""
        words = [word for name, uri in (apps or {}).items() for word in ("--app", f"{name}={uri}")]
        self._run(
            "target", "add", self.folder, "--ostree-repo", repo, "--commit", commit,
            "--name", NAME, "--version", version, "--hardware-id", self.hardware_id, "--tag", "main", *words,
        )  # fmt: skip
        return f"{NAME}-{version}"

    def credentials(self):
        """What a factory puts on a device: the first root, and the files of its TLS identity."""
        files = pathlib.Path(f"{self.folder}.keys") / "tls/devices/device-1"
        found = {path.name: path.read_bytes() for path in files.iterdir()}
        return {**found, "root.json": (self.folder / "repo/1.root.json").read_bytes()}

    def shared_credentials(self):
        """What the image of a fleet has: the credential that its devices share, and what they trust first of the Director."""
        shared = pathlib.Path(f"{self.folder}.keys") / "tls/credentials.zip"
        return {
            "sota_provisioning_credentials.zip": shared.read_bytes(),
            "director-root.json": (self.folder / "director/1.root.json").read_bytes(),
        }

    def assign(self, target, device, correlation_id):
        """The Director says what a device is to have."""
        self._run("director", "assign", self.folder, target, "--device", device, "--correlation-id", correlation_id)

    def devices(self):
        """Ids of the devices that have registered their ECUs."""
        return [path.parent.name for path in pathlib.Path(f"{self.folder}.received").glob("*/ecus.json")]

    def results(self, device):
        """The installation reports in a device's manifests, in order: correlation id, success, code."""
        manifests = sorted((pathlib.Path(f"{self.folder}.received") / device / "manifests").glob("*.json"))
        reports = [json.loads(path.read_text())["signed"].get("installation_report") for path in manifests]
        reports = [report["report"] for report in reports if report]
        return [(report["correlation_id"], report["result"]["success"], report["result"]["code"]) for report in reports]

    def requests(self, path=""):
        """The requests so far whose path has `path` in it."""
        lines = self.log.read_text().splitlines()
        return [entry for entry in map(json.loads, lines) if path in entry["path"]]

    def _run(self, *argv):
        if self._tell:
            self._tell(" ".join(["ota-repo", *(word.name if isinstance(word, pathlib.Path) else str(word) for word in argv)]))
        return cache.run(self._tool, *argv)
