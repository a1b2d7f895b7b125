"""The boot script alone, in front of a kernel that is not waited for: a case costs seconds.

The device has two deployments, told apart by a word on the kernel's command line.
"""

import re
import time

import pytest

from bed import ubootenv

NEWEST, BEFORE = "bed.deployment=newest", "bed.deployment=before"
# Where the link /boot/loader leads to after the first deployment.
UENV = "/boot/loader.1/uEnv.txt"


@pytest.fixture
def firmware(plain_image, bench, request):
    device = bench.device(plain_image, re.sub(r"\W+", "-", request.node.name))
    yield Firmware(device)
    device.power_cut()


class Firmware:
    """A device that is switched off as soon as the kernel starts."""

    def __init__(self, device):
        self.device, self.disk = device, device.disk
        self._give_two_deployments()

    def boot(self):
        """One boot. Returns which deployment's kernel was started."""
        self.device.console.skip()
        self.device.power_on()
        # In quotes it is U-Boot that says it, on x86; the kernel itself uses none.
        words = self.device.wait(r'Kernel command line: "?([^"\r\n]+)["\r\n]', timeout=120).group(1).split()
        self.device.power_cut()
        return next(word for word in words if word.startswith("bed.deployment="))

    def cut_behind(self, pattern, delay):
        """One boot that ends soon after a line of the boot script."""
        self.device.console.skip()
        self.device.power_on()
        self.device.wait(pattern, timeout=120, every=0.001)
        time.sleep(delay)
        self.device.power_cut()

    def variables(self):
        return {name: int(value) for name, value in self.disk.boot_variables().items()}

    def _give_two_deployments(self):
        entry = dict(line.split("=", 1) for line in self.disk.root_file(UENV).decode().splitlines())
        both = {name: f"{value} {NEWEST}" if name == "bootargs" else value for name, value in entry.items()}
        both.update({f"{name}2": f"{value} {BEFORE}" if name == "bootargs" else value for name, value in entry.items()})
        self.put_uenv(both)

    def put_uenv(self, lines):
        self.disk.put_root_file(UENV, "".join(f"{name}={value}\n" for name, value in lines.items()))

    def break_kernel(self, suffix=""):
        lines = dict(line.split("=", 1) for line in self.disk.root_file(UENV).decode().splitlines())
        lines[f"kernel_image{suffix}"] = "/boot/nothing-here"
        self.put_uenv(lines)


def test_a_boot_outside_a_trial_writes_nothing(firmware):
    before = firmware.disk.boot_file("uboot.env")
    assert firmware.boot() == NEWEST
    assert firmware.disk.boot_file("uboot.env") == before


@pytest.mark.parametrize("limit", [1, 3])
def test_a_trial_is_counted_and_goes_back_after_bootlimit_boots(firmware, limit):
    firmware.disk.set_boot_variables(bootcount=0, bootlimit=limit, upgrade_available=1, rollback=0)
    for count in range(1, limit + 1):
        assert firmware.boot() == NEWEST
        assert firmware.variables() == {"bootcount": count, "bootlimit": limit, "upgrade_available": 1, "rollback": 0}
    gone_back = {"bootcount": limit + 1, "bootlimit": limit, "upgrade_available": 0, "rollback": 1}
    assert firmware.boot() == BEFORE
    assert firmware.variables() == gone_back
    # It stays there, and writes nothing more, until the client asks for another trial.
    assert firmware.boot() == BEFORE
    assert firmware.variables() == gone_back


@pytest.mark.parametrize("variables", [{"upgrade_available": 1}, {"upgrade_available": 1, "bootcount": "x", "bootlimit": "x"}], ids=["absent", "nonsense"])
def test_numbers_that_are_absent_or_no_numbers_are_the_defaults(firmware, variables):
    firmware.disk.set_boot_variables(**variables)
    assert firmware.boot() == NEWEST
    assert firmware.variables()["bootcount"] == 1 and firmware.variables()["bootlimit"] == 3


def test_a_limit_above_what_can_be_counted_still_ends(firmware):
    firmware.disk.set_boot_variables(bootcount=9, bootlimit=99, upgrade_available=1, rollback=0)
    assert firmware.boot() == BEFORE


@pytest.mark.parametrize("damage", ["missing", "empty", "half", "bit"])
def test_a_corrupt_environment_boots_the_newest_deployment_on_trial(firmware, damage):
    whole = ubootenv.encode({"bootcount": 0, "bootlimit": 2, "upgrade_available": 0, "rollback": 1})
    if damage == "missing":
        firmware.disk.remove_boot_file("uboot.env")
    else:
        flipped = whole[:10] + bytes([whole[10] ^ 1]) + whole[11:]
        firmware.disk.put_boot_file("uboot.env", {"empty": b"", "half": whole[:256], "bit": flipped}[damage])
    assert firmware.boot() == NEWEST
    assert firmware.variables() == {"bootcount": 1, "bootlimit": 3, "upgrade_available": 1, "rollback": 0}


def test_a_boot_command_in_the_environment_is_not_taken(firmware):
    firmware.disk.set_boot_variables(bootcount=0, upgrade_available=0, ota_boot="echo planted", bootcmd="echo planted", kernel_image="/planted")
    assert firmware.boot() == NEWEST
    assert "planted" not in firmware.device.console.text()


def test_a_kernel_that_does_not_load_is_a_failed_boot_of_the_trial(firmware):
    firmware.break_kernel()
    firmware.disk.set_boot_variables(bootcount=0, bootlimit=2, upgrade_available=1, rollback=0)
    assert firmware.boot() == BEFORE
    assert firmware.device.starts == 3
    assert firmware.variables() == {"bootcount": 3, "bootlimit": 2, "upgrade_available": 0, "rollback": 1}


def test_outside_a_trial_any_deployment_that_loads_is_better_than_none(firmware):
    firmware.break_kernel()
    assert firmware.boot() == BEFORE
    assert firmware.device.starts == 1


def test_a_rollback_deployment_that_does_not_load_is_no_dead_end(firmware):
    firmware.break_kernel("2")
    firmware.disk.set_boot_variables(bootcount=4, bootlimit=3, upgrade_available=0, rollback=1)
    assert firmware.boot() == NEWEST


def test_power_cut_while_the_script_writes_leaves_the_old_or_the_new_environment(firmware):
    firmware.disk.set_boot_variables(bootcount=0, bootlimit=9, upgrade_available=1, rollback=0)
    counts = [0]
    for delay in (0, 0.002, 0.005, 0.01, 0.02, 0.05):
        firmware.cut_behind("rust-ota-boot: bootcount=", delay)
        counts.append(firmware.variables()["bootcount"])
    assert all(after - before in (0, 1) for before, after in zip(counts, counts[1:])), counts
    assert firmware.boot() == NEWEST


def test_rollback_with_one_deployment_only_boots_it(firmware):
    lines = dict(line.split("=", 1) for line in firmware.disk.root_file(UENV).decode().splitlines())
    firmware.put_uenv({name: value for name, value in lines.items() if not name.endswith("2")})
    firmware.disk.set_boot_variables(bootcount=4, bootlimit=3, upgrade_available=0, rollback=1)
    assert firmware.boot() == NEWEST
