"""A device's disk, read and written from the host while the device is off. No mount, no loop device."""

import json
import pathlib
import subprocess
import tempfile

from . import cache, ubootenv


# The boot file system is small and its files lie at its beginning.
BOOT_PARTITION_SCAN = 8 << 20


class Disk:
    def __init__(self, image, path):
        self.path = pathlib.Path(path)
        self._manifest = image.manifest
        image.copy_disk(self.path)
        table = json.loads(cache.run("sfdisk", "--json", self.path))["partitiontable"]
        self._starts = [part["start"] * table.get("sectorsize", 512) for part in table["partitions"]]

    def boot_variables(self):
        """The boot variables as stored, or None when the file's checksum is wrong."""
        return ubootenv.decode(self.boot_file(self._manifest["environment"]["file"])[: self._manifest["environment"]["size"]])

    def boot_variables_watch(self):
        """A function that gives the boot variables as they are on the disk at that moment, cheap enough to call all the time."""
        size = self._manifest["environment"]["size"]
        start = self._starts[self._manifest["partitions"]["boot"] - 1]
        stored = self.boot_file(self._manifest["environment"]["file"])[:size]
        with open(self.path, "rb") as disk:
            disk.seek(start)
            offset = start + disk.read(BOOT_PARTITION_SCAN).index(stored)
        last = ubootenv.decode(stored)

        def now():
            nonlocal last
            with open(self.path, "rb") as disk:
                disk.seek(offset)
                last = ubootenv.decode(disk.read(size)) or last
            return last

        return now

    def set_boot_variables(self, **variables):
        self.put_boot_file(self._manifest["environment"]["file"], ubootenv.encode(variables, self._manifest["environment"]["size"]))

    def boot_file(self, name):
        return subprocess.run(["mtype", "-i", self._boot(), f"::{name}"], stdout=subprocess.PIPE, check=True).stdout

    def put_boot_file(self, name, data):
        subprocess.run(["mcopy", "-o", "-i", self._boot(), "-", f"::{name}"], input=data, check=True)

    def remove_boot_file(self, name):
        subprocess.run(["mdel", "-i", self._boot(), f"::{name}"], check=True)

    def root_file(self, path):
        """A file of the root file system; `path` may have links in it."""
        return _debugfs(self._root(), [f"cat {path}"]).stdout

    def put_root_file(self, path, data):
        """Writes a file with mode 0600; folders on the way are made, an old file is replaced."""
        path = pathlib.PurePosixPath(path)
        with tempfile.NamedTemporaryFile() as source:
            source.write(data.encode() if isinstance(data, str) else data)
            source.flush()
            parents = [f"mkdir {parent}" for parent in reversed(path.parents[:-1])]
            done = _debugfs(self._root(), [*parents, f"rm {path}", f"write {source.name} {path}", f"sif {path} mode 0100600"], write=True)
        # debugfs reports errors in words and exits 0.
        wrong = [line for line in done.stderr.decode().splitlines()[1:] if line and "already exists" not in line and not line.startswith("rm:")]
        if wrong:
            raise RuntimeError(f"{self.path}: cannot write {path}: {'; '.join(wrong)}")

    def put_var(self, path, data):
        """Writes a file into the device's /var: what a factory would put on a new device."""
        self.put_root_file(f"/ostree/deploy/{self._manifest['osname']}/var/{path}", data)

    def _boot(self):
        return f"{self.path}@@{self._starts[self._manifest['partitions']['boot'] - 1]}"

    def _root(self):
        return f"{self.path}?offset={self._starts[self._manifest['partitions']['root'] - 1]}"


def _debugfs(device, commands, write=False):
    with tempfile.NamedTemporaryFile("w") as script:
        script.write("\n".join(commands) + "\n")
        script.flush()
        argv = ["/usr/sbin/debugfs", *(["-w"] if write else []), "-f", script.name, device]
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True)
    # It repeats each command on stdout before the command's own output.
    done.stdout = done.stdout.split(b"\n", 1)[1] if b"\n" in done.stdout else b""
    return done
