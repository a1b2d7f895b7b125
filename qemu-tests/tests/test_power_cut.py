"""The power is cut in the middle of an update: the device boots the old release or the new one, whole, and the next run completes.

A cut is `kill -9` of QEMU: what the guest handed to its disk is kept, what it had in memory is lost. Every point has two cuts: one in
the middle of a run, and one as the repeated run has ended. (The writes of the boot script are cut in test_bootloader.py.)
"""

import collections
import os
import random
import time

import pytest

from bed import client

FILES = 24
JOBS = 4


@pytest.fixture(scope="module")
def victim(disabled_image, bench):
    return Victim(*bench.connected_device(disabled_image))


class Victim:
    """A device whose updates are cut."""

    def __init__(self, device, server, releases):
        self.device, self.server, self.releases = device, server, releases
        self.number = 1
        self.deploy_seconds = None
        device.power_on()
        device.wait_up("A")
        # Few requests at once, so that there is a middle of the fetch to cut in.
        device.put("/etc/sota/conf.d/90-bed.toml", f"[rust_ota]\npull_jobs = {JOBS}\n")

    def next_release(self):
        """Publishes a release with enough objects to cut between."""
        self.number += 1
        self.version = f"R{self.number}"
        self.commit = self.releases.good(self.version, files=FILES, size=128 << 10)
        self.server.publish(self.releases.repo, self.commit, self.number)

    def cut_after_objects(self, count):
        before = len(self.objects())
        self._cut_when(lambda: len(self.objects()) - before >= count, f"{count} requests for objects")

    def cut_after_arming(self, share_of_deploy):
        """A cut after the boot variables changed on the disk, as the last thing before the deployment."""
        armed = self.device.disk.boot_variables_watch()
        self._cut_when(lambda: armed()["upgrade_available"] == "1", "armed boot variables on the disk", share_of_deploy)

    def objects(self):
        return self.server.requests("/treehub/objects/")

    def comes_back(self):
        """After a cut: which release is up, and whether everything is whole."""
        self.device.console.skip()
        self.device.power_on()
        version = self.device.wait_up()
        errors = "EXT4-fs error|FAT-fs .*error|I/O error"
        checks = f"if dmesg | grep -E '{errors}'; then exit 1; fi; ostree fsck --quiet && fw_printenv upgrade_available"
        answer = self.device.try_ssh(checks, timeout=300)
        # A release that is deployed and was passed by stays on trial.
        trial = "1" if client.status(self.device)["pending"] else "0"
        # fsck mentions a commit that is still partial, and is content with it.
        last = answer.out.strip().splitlines()[-1:]
        assert answer.code == 0 and last == [f"upgrade_available={trial}"], f"{version} is up, but: {answer.out}"
        return version

    def update(self):
        """A whole run. Returns its exit code, and notes how long the deployment takes here."""
        armed = self.device.disk.boot_variables_watch()
        run = self.device.start_ssh("rust-ota update 2>&1")
        began = None
        while run.poll() is None:
            if began is None and armed()["upgrade_available"] == "1":
                began = time.monotonic()
            time.sleep(0.02)
        if began:
            self.deploy_seconds = time.monotonic() - began
        return run.returncode, run.stdout.read()

    def _cut_when(self, condition, what, share_of_deploy=0):
        run = self.device.start_ssh("rust-ota update 2>&1")
        self.device.wait_for(lambda: condition() or run.poll() is not None, what, every=0.01)
        assert run.poll() is None, f"the run ended before {what}: {run.stdout.read()}"
        time.sleep(share_of_deploy * (self.deploy_seconds or 0))
        self.device.power_cut()
        run.wait()


CUTS = {
    "at-the-first-object": lambda victim: victim.cut_after_objects(1),
    "in-the-middle-of-the-fetch": lambda victim: victim.cut_after_objects(FILES // 2),
    "at-the-last-object": lambda victim: victim.cut_after_objects(FILES),
    "as-the-boot-variables-are-written": lambda victim: victim.cut_after_arming(0),
    "in-the-deployment": lambda victim: victim.cut_after_arming(0.5),
    "at-the-end-of-the-deployment": lambda victim: victim.cut_after_arming(0.9),
}
# Further cuts in the deployment, each at another moment: RUST_OTA_POWER_CUTS=100 for an afternoon.
for number in range(int(os.environ.get("RUST_OTA_POWER_CUTS", "0"))):
    CUTS[f"in-the-deployment-{number}"] = lambda victim: victim.cut_after_arming(random.random())


@pytest.mark.parametrize("point", CUTS)
def test_e_power_cut(victim, point):
    before = f"R{victim.number}" if victim.number > 1 else "A"
    victim.next_release()
    asked = len(victim.objects())
    CUTS[point](victim)
    version = victim.comes_back()
    assert version in (before, victim.version)
    if version == before and client.status(victim.device)["pending"]:
        # U-Boot saw the old boot entry, Linux the new one (the file system's journal): the next boot is of the new release.
        victim.device.power_cut()
        assert victim.comes_back() == victim.version
    elif version == before:
        # The next run goes on where this one was cut, and completes.
        code, out = victim.update()
        assert code == 100, out
        again = [path for path, times in collections.Counter(entry["path"] for entry in victim.objects()[asked:]).items() if times > 1]
        print(f"{point}: {len(again)} objects were asked for twice")
        victim.device.power_cut()
        assert victim.comes_back() == victim.version
    status = client.status(victim.device)
    assert status["ostree_hash"] == victim.commit and status["current"]["version"] == victim.number
    assert status["pending"] is None and status["known_bad"] == []
