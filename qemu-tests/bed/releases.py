"""The releases of the tests: overlays on release A, so that each costs seconds and a few hundred kilobytes."""

import os
import pathlib
import shutil
import tempfile

from . import cache
from .image import install, kernel_version, link, release


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

        def damage(tree):
            units = "usr/lib/systemd/system"
            install(tree, _HANGING, f"{units}/product.service")
            link(tree, f"{units}/boot-complete.target.requires/product.service", "../product.service")
            timer = f"[Timer]\nOnBootSec=\nOnBootSec={deadline}s\nAccuracySec=1s\n"
            install(tree, timer, f"{units}/rust-ota-deadline.timer.d/bed.conf")

        return self._make(version, damage)

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


def _payload(tree, files, size):
    for number in range(files):
        install(tree, os.urandom(size), f"usr/lib/product/data-{number}")
