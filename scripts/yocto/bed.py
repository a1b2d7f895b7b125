"""Makes an image of the test bed from what BitBake has packaged, in place of what the test bed lays into one itself.

    bed.py keys OUT                     the keys that an image is given, as folder OUT/keys
    bed.py image OUT BUILD ROOTFS       BUILD: the build folder, after do_package; ROOTFS: what class rust-ota-qemu-tests put into an image

OUT then has what a build's deploy folder would have: disk.wic, u-boot.rom, repo, commit, abiversion.
"""

import pathlib
import shutil
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "qemu-tests"))

from bed import image  # noqa: E402
from bed.disk import Disk  # noqa: E402

# What kas/qemuarm64.yml:kas/qemu-tests.yml installs of ours.
PACKAGES = (
    "rust-ota", "rust-ota-boot-confirm", "rust-ota-aktualizr", "rust-ota-aktualizr-info", "rust-ota-hwid", "rust-ota-uboot-env-rollback",
    "rust-ota-polling-interval", "rust-ota-log-debug", "rust-ota-watchdog", "rust-ota-boot",
)  # fmt: skip


def main(what, out, *more):
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    keys(out) if what == "keys" else make(out, *map(pathlib.Path, more))


def keys(out):
    shutil.copytree(image.ssh_keys(), out / "keys", dirs_exist_ok=True)


def make(out, build, rootfs):
    tree = out / "overlay"
    shutil.rmtree(tree, ignore_errors=True)
    for package in PACKAGES:
        shutil.copytree(split(build, package), tree, symlinks=True, dirs_exist_ok=True)
    apply_presets(tree)
    shutil.copytree(rootfs, tree, symlinks=True, dirs_exist_ok=True)
    # OSTree's place for it; the rest of hosts is the base's.
    shutil.move(tree / "etc", tree / "usr/etc")
    hosts = tree / "usr/etc/hosts"
    hosts.write_text("127.0.0.1 localhost device\n" + hosts.read_text())

    made = image.debian(tree)
    shutil.rmtree(out / "repo", ignore_errors=True)
    deployed = next(build.glob("tmp/deploy/images/*/boot.scr")).parent
    disk = Disk(made, out / "disk.wic")
    for name in ("boot.scr", "uboot.env"):
        disk.put_boot_file(name, (deployed / name).read_bytes())
    shutil.copytree(made.path("repo"), out / "repo", symlinks=True)
    shutil.copy(made.path("firmware"), out / "u-boot.rom")
    (out / "commit").write_text(made.commit + "\n")
    (out / "abiversion").write_text(image.kernel_version(made.path("repo"), made.commit) + "\n")


def split(build, package):
    found = list(build.glob(f"tmp/work/*/*/*/packages-split/{package}"))
    if len(found) != 1:
        sys.exit(f"{build}: package {package} is there {len(found)} times; bitbake -c package first")
    return found[0]


def apply_presets(tree):
    """What `systemctl preset-all --preset-mode=enable-only` does as an image is made; on Debian's tree it would enable Debian's units too."""
    for preset in sorted((tree / "usr/lib/systemd/system-preset").iterdir()):
        for action, unit in (line.split() for line in preset.read_text().splitlines() if line):
            if action == "enable":
                subprocess.run(["systemctl", "--quiet", f"--root={tree}", "enable", unit], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
