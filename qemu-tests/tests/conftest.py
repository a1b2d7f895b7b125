"""Options and fixtures of the QEMU tests."""

import os
import pathlib
import re
import shutil

import pytest

from bed import image as images
from bed.device import Device

LOGS = pathlib.Path(__file__).resolve().parents[2] / "target/qemu-logs"


def pytest_addoption(parser):
    parser.addoption("--image", default="debian", help="`debian` (made here from packages) or `kas:BUILD_DIR` (made by kas before)")
    parser.addoption("--keep", action="store_true", help="keep the logs and disks of every test in target/qemu-logs, not only logs of failed ones")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        item.session.stash[_FAILED] = item.session.stash.get(_FAILED, set()) | {item.nodeid, item.module.__name__}


_FAILED = pytest.StashKey[set]()


@pytest.fixture(scope="session")
def plain_image(request):
    """The image without a client."""
    return images.plain(request.config.getoption("--image"))


@pytest.fixture
def new_device(request, tmp_path):
    """Makes devices for one test."""
    with DeviceShelf(request, tmp_path, request.node.name) as shelf:
        yield shelf.new


class DeviceShelf:
    """The devices of a test or of a module: all are switched off at its end, and their logs kept if it failed."""

    def __init__(self, request, folder, name):
        self._request, self._folder, self._name = request, folder, name
        self._devices = []

    def new(self, image, name="device", **more):
        device = Device(image, self._folder / name, name, **more)
        self._devices.append(device)
        return device

    def __enter__(self):
        return self

    def __exit__(self, *_):
        keep = self._request.config.getoption("--keep")
        failed = self._request.session.stash.get(_FAILED, set())
        for device in self._devices:
            if self._request.node.nodeid in failed or getattr(self._request.node, "name", "") in failed or keep:
                self._save(device, keep)
            device.close()

    def _save(self, device, keep):
        into = LOGS / re.sub(r"[^\w.-]+", "-", self._name)
        into.mkdir(parents=True, exist_ok=True)
        if device.is_on:
            journal = device.try_ssh("journalctl -b --no-pager -o short-monotonic; ostree admin status; fw_printenv; systemctl --failed", timeout=60)
            (into / f"{device.name}.guest.txt").write_text(journal.out)
        device.power_cut()
        for path in device.folder.iterdir():
            if keep or path.suffix != ".img":
                shutil.copy(path, into / path.name)
        print(f"\nlogs: {os.path.relpath(into)}")
