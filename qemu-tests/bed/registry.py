"""The host's side of Compose apps: Debian's docker-registry, images made of busybox, apps published by ota-repo.

A name of an image says where its registry is, and must mean the same here and in the guest: 127.0.0.1 and a port. In the guest that
port leads here through ssh, for as long as a test wants it to."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

from . import cache
from .image import PROJECT
from .server import ota_repo

sys.path.insert(0, str(PROJECT / "tests/python"))
import oci_images  # noqa: E402


class Registry:
    """A registry with the server's certificate."""

    def __init__(self, folder, server):
        self.folder = pathlib.Path(folder) / "registry"
        self.folder.mkdir(parents=True)
        tls = pathlib.Path(f"{server.folder}.keys") / "tls"
        self._ca = tls / "devices/device-1/root.crt"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.host = f"127.0.0.1:{probe.getsockname()[1]}"
        config = self.folder / "config.yml"
        config.write_text(
            f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {self.folder}/data\n"
            f"http:\n  addr: {self.host}\n  tls:\n    certificate: {tls}/server.crt\n    key: {tls}/server.key\n"
        )
        self.log = self.folder / "log"
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(["docker-registry", "serve", config], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._tunnel = None
        self._wait()

    def image(self, place, version, size=0):
        """Pushes an image, with so many random bytes; /version in it says which. Gives its name with its digest."""
        repository, _, tag = place.partition(":")
        blobs, manifest = oci_images.image(version, os.urandom(size))
        digest = oci_images.Registry(self.host, self._ca).push(repository, tag, blobs, manifest)
        return f"{self.host}/{repository}@{digest}"

    def app(self, name, compose):
        """Publishes a project that is one Compose file; gives the app's URI."""
        project = self.folder / "projects" / name
        project.mkdir(parents=True, exist_ok=True)
        (project / "docker-compose.yml").write_text(compose)
        return cache.run(ota_repo(), "apps", "publish", project, "--to", f"{self.host}/apps/{name}", "--ca", self._ca)

    def unchecked_app(self, name, compose):
        """The same by a tool that looks at nothing."""
        blobs, manifest = oci_images.app(compose.encode())
        return f"{self.host}/apps/{name}@{oci_images.Registry(self.host, self._ca).push(f'apps/{name}', 'unchecked', blobs, manifest)}"

    def layer(self, image):
        """The digits of an image's upper layer."""
        manifest = json.loads(self._blob(image.rsplit(":", 1)[1]).read_bytes())
        return manifest["layers"][-1]["digest"].removeprefix("sha256:")

    @contextlib.contextmanager
    def lacks(self, digits):
        """The registry has lost this blob for a while."""
        blob = self._blob(digits)
        hidden = blob.rename(blob.with_name("hidden"))
        yield
        hidden.rename(blob)

    def _blob(self, digits):
        return self.folder / "data/docker/registry/v2/blobs/sha256" / digits[:2] / digits / "data"

    def reach(self, device):
        """The guest reaches the registry from now on, until its next boot or `cut`."""
        self.cut()
        self._tunnel = device.forward(self.host)
        port = f"/dev/tcp/{self.host.replace(':', '/')}"
        device.wait_for(lambda: device.try_ssh(f"bash -c ': <{port}'").code == 0, "way to the registry")

    def cut(self):
        """The guest does not reach it any more."""
        if self._tunnel:
            self._tunnel.kill()
            self._tunnel.wait()
            self._tunnel = None

    def stop(self):
        self.cut()
        self._process.terminate()
        self._process.wait()

    def _wait(self):
        host, port = self.host.split(":")
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex((host, int(port))) == 0:
                    return
            time.sleep(0.1)
        raise RuntimeError(f"docker-registry did not start: {self.log.read_text()[-500:]}")
