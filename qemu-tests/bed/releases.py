"""The releases of the tests: overlays on release A, so that each costs seconds and a few hundred kilobytes."""

import os
import pathlib
import shutil
import tempfile

from . import cache
from .image import install, kernel_version, link, release


UNITS = "usr/lib/systemd/system"


class Releases:
    """A repository with release A of an image and what is built on it. `commits`: version to checksum."""

    def __init__(self, image, folder):
        self.repo = pathlib.Path(folder) / "releases"
        cache.run("cp", "-a", "--reflink=auto", image.path("repo"), self.repo)
        self._base = image.commit
        self.commits = {"A": image.commit}

    def good(self, version, files=4, size=64 << 10):
        """Some new files; the system starts as before."""
        return self._make(version, lambda tree: _payload(tree, files, size))

    def panics(self, version):
        """The initramfs is damaged, so the kernel finds no root file system and panics."""

        def damage(tree):
            kernel = kernel_version(self.repo, self._base)
            install(tree, os.urandom(2 << 20), f"usr/lib/modules/{kernel}/initramfs.img")

        return self._make(version, damage)

    def hangs(self, version, deadline):
        """A service that boot-complete.target needs never comes up. The time limit of an unconfirmed boot is `deadline` seconds."""
        return self.checked(version, deadline, {"product.service": _HANGING})

    def checked(self, version, deadline, checks, units=()):
        """`checks`: units that boot-complete.target needs, by name; one without a text is the system's own. `units`: further ones
        (name, text, the target that wants it)."""

        def fill(tree):
            for name, text in checks.items():
                _unit(tree, name, text, "boot-complete.target.requires")
            for name, text, wanted in units:
                _unit(tree, name, text, f"{wanted}.wants")
            timer = f"[Timer]\nOnBootSec=\nOnBootSec={deadline}s\nAccuracySec=1s\n"
            install(tree, timer, f"{UNITS}/rust-ota-deadline.timer.d/bed.conf")

        return self._make(version, fill)

    def _make(self, version, fill):
        if version not in self.commits:
            with tempfile.TemporaryDirectory() as folder:
                tree = pathlib.Path(folder) / "overlay"
                tree.mkdir()
                fill(tree)
                self.commits[version] = release(self.repo, self._base, version, tree)
        return self.commits[version]

    def remove(self):
        shutil.rmtree(self.repo, ignore_errors=True)


_HANGING = """\
[Unit]
Description=The product's own service, which this release broke
Before=boot-complete.target

[Service]
Type=oneshot
TimeoutStartSec=infinity
ExecStart=/bin/sh -c 'echo "BED: the product does not start" >/dev/console; exec sleep infinity'
"""


def _unit(tree, name, text, wanted):
    if text:
        install(tree, text, f"{UNITS}/{name}")
    link(tree, f"{UNITS}/{wanted}/{name}", f"../{name}")


def _payload(tree, files, size):
    for number in range(files):
        install(tree, os.urandom(size), f"usr/lib/product/data-{number}")
