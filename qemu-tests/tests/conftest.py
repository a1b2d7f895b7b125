"""Options and fixtures of the QEMU tests."""

import os
import pathlib
import re
import shutil

import pytest

pytest.register_assert_rewrite("apps_story")

from bed import client
from bed import image as images
from bed.device import Device
from bed.registry import Registry
from bed.releases import Releases
from bed.server import Server

LOGS = pathlib.Path(__file__).resolve().parents[2] / "target/qemu-logs"
_FAILED = pytest.StashKey[set]()


def pytest_addoption(parser):
    parser.addoption("--image", default="debian", help="`debian` (made here from packages) or `kas:BUILD_DIR` (made by kas before)")
    parser.addoption("--keep", action="store_true", help="keep logs and disks of every test in target/qemu-logs, not only the logs of failed ones")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        item.session.stash.setdefault(_FAILED, set()).add(item.module.__name__)


@pytest.fixture(scope="session")
def plain_image(request):
    """The image without a client."""
    return images.plain(request.config.getoption("--image"))


@pytest.fixture(scope="session")
def enabled_image(request):
    """The image whose daemon runs by itself."""
    return client.image(request.config.getoption("--image"), enabled=True)


@pytest.fixture(scope="session")
def bus_image(request):
    """The image whose daemon runs by itself, with D-Bus, by which systemd's health check asks."""
    return client.image(request.config.getoption("--image"), enabled=True, bus=True)


@pytest.fixture(scope="session")
def disabled_image(request):
    """The image whose daemon is disabled."""
    return client.image(request.config.getoption("--image"), enabled=False)


@pytest.fixture(scope="session")
def engines_image(request):
    """The image with Docker and Podman, whose daemon is disabled."""
    return client.image(request.config.getoption("--image"), enabled=False, engines=True)


@pytest.fixture(scope="module")
def bench(request, tmp_path_factory):
    """A place for the devices and servers of one test module."""
    bench = Bench(tmp_path_factory.mktemp(request.module.__name__), request.module.__name__)
    yield bench
    bench.clear(failed=request.module.__name__ in request.session.stash.get(_FAILED, set()), keep=request.config.getoption("--keep"))


class Bench:
    """What runs for a test module. All of it ends with the module; what it left in logs is kept when a test failed."""

    def __init__(self, folder, name):
        self._folder, self._name = folder, name
        self._devices, self._servers, self._releases = [], [], []

    def device(self, image, name="device", **more):
        """A new device, switched off."""
        device = Device(image, self._folder, name, **more)
        self._devices.append(device)
        return device

    def release(self, device):
        """A device that no test needs any more."""
        self._devices.remove(device)
        device.close()

    def connected_device(self, image, name="device", hosts=("ota.test",), shared=None):
        """A new device with the credentials for a new server, which publishes the device's release A: device, server, releases.
        `shared`: as Server has it; the credentials are those of a fleet then."""
        releases = Releases(image, self._folder)
        self._releases.append(releases)
        server = Server(self._folder, client.HARDWARE_ID, hosts=hosts, shared=shared)
        self._servers.append(server)
        server.publish(releases.repo, image.commit, 1)
        server.start()
        device = self.device(image, name, server_port=server.port)
        client.put_credentials(device.disk, server.shared_credentials() if shared else server.credentials())
        return device, server, releases

    def registry(self, server):
        """A registry for Compose apps, with the certificate of this server."""
        registry = Registry(self._folder, server)
        self._servers.append(registry)
        return registry

    def clear(self, failed, keep):
        if failed or keep:
            self._save(keep)
        for device in self._devices:
            device.close()
        for server in self._servers:
            server.stop()
        for releases in self._releases:
            releases.remove()

    def _save(self, keep):
        into = LOGS / re.sub(r"[^\w.-]+", "-", self._name)
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir(parents=True)
        for device in self._devices:
            if device.is_on:
                script = "rust-ota status; ostree admin status; fw_printenv; systemctl --failed; journalctl --no-pager -o short-monotonic"
                (into / f"{device.name}.guest.txt").write_text(device.try_ssh(script, timeout=60).out)
            device.power_cut()
        for path in self._folder.iterdir():
            if path.is_file() and (keep or path.suffix != ".img"):
                shutil.copy(path, into / path.name)
        print(f"\nlogs of {self._name}: {os.path.relpath(into)}")
