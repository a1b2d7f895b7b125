"""The client as it goes into an image: the static binary and the very units and fragments that the Yocto layer installs."""

import json
import os
import pathlib
import tempfile

from . import device
from .image import LAYER, PROJECT, debian, install, kas, link

FILES = LAYER / "recipes-sota/rust-ota/files"
HARDWARE_ID = "qemu-device"
POLLING_SECONDS = 10
STATE = "/var/sota"


def binary():
    """The static binary. RUST_OTA_CLIENT names another one than scripts/static-build makes."""
    path = pathlib.Path(os.environ.get("RUST_OTA_CLIENT") or PROJECT / "target/static/rust-ota")
    if not path.exists():
        raise RuntimeError(f"{path} is not there: build it with scripts/static-build, or name one in RUST_OTA_CLIENT")
    return path


def image(option="debian", enabled=True, engines=False, bus=False):
    """The image of the option --image, with the client in it; `enabled`: its daemon runs, as SYSTEMD_AUTO_ENABLE says in Yocto.
    `engines`: with Docker and Podman, for Compose apps. `bus`: with D-Bus, which the other images without engines do without."""
    kind, _, where = option.partition(":")
    if kind == "kas":
        return kas(where, "enabled" if enabled else "disabled")
    with tempfile.TemporaryDirectory() as folder:
        tree = pathlib.Path(folder) / "overlay"
        _overlay(tree, enabled)
        return debian(tree, engines, bus)


def put_credentials(disk, credentials):
    """Gives one device what a factory gives it: first root, authority, certificate and key. {file name: bytes}"""
    for name, data in credentials.items():
        disk.put_var(f"{STATE.removeprefix('/var/')}/{name}", data)


def status(dev):
    """`rust-ota status --json` of a device."""
    return json.loads(dev.ssh("rust-ota status --json 2>/dev/null"))


def _overlay(tree, enabled):
    install(tree, binary(), "usr/bin/rust-ota", 0o755)
    for unit in sorted((FILES / "systemd").iterdir()):
        install(tree, unit, f"usr/lib/systemd/system/{unit.name}")
    for conf in sorted((FILES / "tmpfiles").iterdir()):
        install(tree, conf, f"usr/lib/tmpfiles.d/{conf.name}")
    _enable(tree, "multi-user.target.wants", "rust-ota-finalize.service")
    _enable(tree, "multi-user.target.wants", "rust-ota-report.service")
    _enable(tree, "sysinit.target.wants", "rust-ota-deadline.timer")
    if enabled:
        _enable(tree, "multi-user.target.wants", "rust-ota.service")
    # What the client says is seen on the console too, where a test reads it and a failed boot leaves it.
    for unit in ("rust-ota", "rust-ota-finalize", "rust-ota-report", "rust-ota-deadline", "rust-ota-update"):
        text = "[Service]\nStandardOutput=journal+console\nStandardError=journal+console\n"
        install(tree, text, f"usr/lib/systemd/system/{unit}.service.d/bed.conf")
    fragments = FILES / "fragments"
    values = {"@SOTA_HARDWARE_ID@": HARDWARE_ID, "@SOTA_POLLING_SEC@": str(POLLING_SECONDS)}
    for name in ("30-rollback.toml", "40-hardware-id.toml", "60-polling-interval.toml"):
        text = (fragments / name).read_text()
        for variable, value in values.items():
            text = text.replace(variable, value)
        install(tree, text, f"usr/lib/sota/conf.d/{name}")
    server = f'[tls]\nserver = "https://ota.test:{device.SERVER[1]}"\n'
    server += f'\n[pacman]\ntags = "main"\n\n[rust_ota]\nmetadata = tuf\nroot = "{STATE}/root.json"\n'
    install(tree, server, "usr/lib/sota/conf.d/50-server.toml")


def _enable(tree, wants, unit):
    link(tree, f"usr/etc/systemd/system/{wants}/{unit}", f"/usr/lib/systemd/system/{unit}")
