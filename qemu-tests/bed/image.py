"""Images of a test device. What a test needs to know about one is in its manifest.json, whoever built it."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess

from . import cache, ubootenv

HERE = pathlib.Path(__file__).resolve().parent.parent
PROJECT = HERE.parent
DEBIAN = HERE / "images/debian"
LAYER = PROJECT / "meta-rust-ota"
BOOT_FILES = LAYER / "recipes-bsp/rust-ota-boot/files"
# 32-bit U-Boot, 64-bit kernel: the 64-bit build (2023.01) resets the machine as it starts a kernel.
FIRMWARE = pathlib.Path("/usr/lib/u-boot/qemu-x86/u-boot.rom")
SUITE = os.environ.get("RUST_OTA_GUEST_SUITE", "trixie")
MIRROR = os.environ.get("RUST_OTA_DEBIAN_MIRROR", "http://deb.debian.org/debian")
OSNAME = "debian"
# Where a build leaves the description of an image: below a folder of kas, of bitbake, or of one machine's images. (Nowhere else is
# looked: a build folder has millions of files.)
KAS_MANIFESTS = [f"{place}qemu-tests/*/manifest.json" for place in ("", "deploy/images/*/", "tmp*/deploy/images/*/", "build/tmp*/deploy/images/*/")]


class Image:
    """A disk with release A deployed, and the repository that holds A's commit. `folder/manifest.json` is the contract."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.manifest = json.loads((self.folder / "manifest.json").read_text())

    def path(self, name):
        """A file that the manifest names, relative to the image's folder or absolute."""
        return self.folder / self.manifest[name]

    @property
    def commit(self):
        return self.manifest["commit"]

    def copy_disk(self, to):
        """A disk of its own for one device: written to, cut, thrown away."""
        cache.run("cp", "--reflink=auto", "--sparse=always", self.path("disk"), to)


def debian(overlay=None, engines=False, bus=False):
    """The Debian image. `overlay`: a folder that goes on top of the tree (the client and its units), for release A.
    `engines`: with Docker and Podman in it, and room for what they run. `bus`: with D-Bus."""
    lists = [DEBIAN / "guest-packages-engines"] if engines else [DEBIAN / "guest-packages-bus"] if bus else []
    base = _base(lists)
    inputs = [base.name, DEBIAN / "disk.sh", BOOT_FILES, FIRMWARE, pathlib.Path(__file__)]
    return Image(cache.made("image", cache.key(*inputs, overlay or ""), lambda out: _image(out, base, overlay, engines)))


def plain(option):
    """The image of the option --image, without a client where it is made here."""
    kind, _, where = option.partition(":")
    if kind == "kas":
        return kas(where, "plain")
    if option == "debian":
        return debian()
    raise ValueError(f"--image {option}: neither `debian` nor `kas:BUILD_DIR`")


def kas(build_dir, variant):
    """An image that kas built, as it describes itself. `variant`: enabled, disabled, or plain, which any will do for."""
    found = [path for pattern in KAS_MANIFESTS for path in sorted(pathlib.Path(build_dir).glob(pattern))]
    fitting = [path for path in found if path.parent.name == variant] or (found[:1] if variant == "plain" else [])
    if len(fitting) == 1:
        return Image(fitting[0].parent)
    there = "".join(f"\n  {path}" for path in fitting or found) or " none at all"
    raise RuntimeError(
        f"{build_dir}: one qemu-tests/{variant}/manifest.json is wanted, there:{there}\n"
        f"kas/qemu-tests.yml says how to build an image that has one. Of several machines, name the folder deploy/images/MACHINE"
    )


def release(repo, parent, version, overlay):
    """A new commit on top of `parent`: files of `overlay`, and `version` as what the device says it is. Returns its checksum."""
    overlay = pathlib.Path(overlay)
    mark = overlay / "usr/lib/bed-version"
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(version + "\n")
    return cache.run(
        "ostree", f"--repo={repo}", "commit", f"--branch=release/{version}", f"--subject=release {version}", "--bootable",
        "--no-xattrs", "--owner-uid=0", "--owner-gid=0", f"--add-metadata-string=version={version}",
        f"--tree=ref={parent}", f"--tree=dir={overlay}",
    )  # fmt: skip


def install(tree, source, path, mode=0o644):
    """Puts a file into an overlay."""
    target = pathlib.Path(tree) / path
    target.parent.mkdir(parents=True, exist_ok=True)
    data = source if isinstance(source, bytes) else source.encode() if isinstance(source, str) else source.read_bytes()
    target.write_bytes(data)
    target.chmod(mode)


def link(tree, path, to):
    """Puts a symbolic link into an overlay."""
    at = pathlib.Path(tree) / path
    at.parent.mkdir(parents=True, exist_ok=True)
    at.symlink_to(to)


def kernel_version(repo, commit):
    """The folder below /usr/lib/modules of a commit: where an overlay that replaces the initramfs must put it."""
    listing = cache.run("ostree", f"--repo={repo}", "ls", commit, "/usr/lib/modules")
    return listing.splitlines()[-1].rsplit("/", 1)[-1]


def ssh_keys():
    """The folder with the key that may log in and the device's own, which are part of every image that is made here."""
    return cache.made("ssh", "1", _ssh_keys)


def _base(lists):
    """The tree without a client, as commit `base` of a repository."""
    ssh = ssh_keys()
    rootfs_key = cache.key(SUITE, MIRROR, DEBIAN / "rootfs.sh", DEBIAN / "guest-packages", *lists)
    tree = [DEBIAN / name for name in ("tree.sh", "initramfs.sh", "initramfs-init", "masked-units", "masked-generators", "files")]
    base_key = cache.key(rootfs_key, *tree, ssh)

    def make(out):
        rootfs = cache.made("rootfs", rootfs_key, lambda folder: _rootfs(folder, lists))
        cache.run(DEBIAN / "tree.sh", rootfs / "rootfs.tar", out / "repo", "base", ssh, rooted=True, env=_temporary())
        shutil.copytree(ssh, out / "ssh")

    return cache.made("base", base_key, make)


def _rootfs(out, lists):
    cache.run(DEBIAN / "rootfs.sh", SUITE, MIRROR, out / "rootfs.tar", *lists, log=out / "log", env=_temporary())


def _ssh_keys(out):
    for name in ("key", "host_key"):
        cache.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", out / name)


def _image(out, base, overlay, engines):
    repo = out / "repo"
    cache.run("cp", "-al", base / "repo", repo)
    # Files that a commit rewrites in place must not be shared with the base.
    for name in ("config", ".lock"):
        _unshare(repo / name)
    work = out / "overlay"
    shutil.copytree(overlay, work, symlinks=True) if overlay else work.mkdir()
    install(work, BOOT_FILES / "fw_env.config", "usr/etc/fw_env.config")
    install(work, BOOT_FILES / "efi.mount", "usr/lib/systemd/system/efi.mount")
    link(work, "usr/lib/systemd/system/local-fs.target.wants/efi.mount", "../efi.mount")
    commit = release(repo, "base", "A", work)
    shutil.rmtree(work)

    boot = out / "boot"
    boot.mkdir()
    script = BOOT_FILES / "rust-ota-boot.cmd"
    cache.run("mkimage", "-A", "x86_64", "-O", "linux", "-T", "script", "-C", "none", "-d", script, boot / "boot.scr")
    variables = (BOOT_FILES / "uboot.env.txt").read_text().split()
    (boot / "uboot.env").write_bytes(ubootenv.encode(dict(line.split("=", 1) for line in variables)))
    size = 3000 if engines else 800
    cache.run(DEBIAN / "disk.sh", repo, commit, OSNAME, boot, out / "disk.img", size, rooted=True, env=_temporary())
    manifest = {
        "format": 1,
        "built_by": f"Debian {SUITE}",
        "arch": "x86_64",
        "memory": "1200M" if engines else "640M",
        "cpu": {"tcg": "Nehalem", "kvm": "host"},
        "firmware": str(FIRMWARE),
        "disk": "disk.img",
        "partitions": {"boot": 1, "root": 2},
        "bootloader": "uboot",
        "environment": {"file": "uboot.env", "size": ubootenv.SIZE},
        "up_marker": r"BED: up version=(\S+)\n",
        "ssh_key": str(base / "ssh/key"),
        "osname": OSNAME,
        "repo": "repo",
        "commit": commit,
        "kernel": f"/usr/lib/modules/{kernel_version(repo, commit)}/vmlinuz",
    }
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


def _temporary():
    """Work on temporary trees in memory when there is room: three times as quick."""
    shm = pathlib.Path("/dev/shm")
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        if shutil.disk_usage(shm).free > 2 << 30:
            return {"TMPDIR": str(shm)}
    return {"TMPDIR": str(cache.ROOT)}


def _unshare(path):
    if path.exists():
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
