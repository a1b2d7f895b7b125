"""What judges a boot, in a real one: systemd's own health check and a product's behind multi-user.target; and a good boot whose verdict cannot be
recorded, because /var is full, which reboots nothing and which the next update repairs."""

import pytest

from bed import client
from bed.device import SCALE

DEADLINE = int(90 * SCALE)
# Of boots that are confirmed before it; three of them are waited for.
SHORT = int(40 * SCALE)
SYSTEMDS = "systemd-boot-check-no-failures.service"
CHECK = """\
[Unit]
Description=The product works
After=multi-user.target
Before=boot-complete.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'echo "BED: the product is checked" >/dev/console; {verdict}'
"""
# Before the client looks at the boot. /run tells the test what it found.
SPOILS = """\
[Unit]
Description=/var goes bad
DefaultDependencies=no
After=local-fs.target systemd-tmpfiles-setup.service
Before=boot-complete.target rust-ota-finalize.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c '{what}; echo "BED: /var is spoiled" >/dev/console'
"""
# A file system of its own, so that nothing else than /var/sota is full.
COPIED = "set -e; mkdir -p /run/copy; cp -a /var/sota/. /run/copy/; mount -t tmpfs -o size=1m none /var/sota; cp -a /run/copy/. /var/sota/; "
FULL = COPIED + "dd if=/dev/zero of=/var/sota/fill bs=1k 2>/dev/null || true"


@pytest.fixture(scope="module")
def device(bus_image, bench):
    device, server, releases = bench.connected_device(bus_image)
    device.power_on()
    device.wait_up("A")
    return device, server, releases


def test_a_systemds_check_and_the_products_judge_a_good_boot_good(device):
    device, server, releases = device
    commit = releases.checked("B", DEADLINE, {SYSTEMDS: None, "product-check.service": CHECK.format(verdict="true")})
    server.publish(releases.repo, commit, 2)
    device.wait_up("B")
    device.wait_for(lambda: client.status(device)["pending"] is None, "confirmation", every=2)
    assert client.status(device)["current"]["name"] == "device-2"
    assert device.boot_variables()["upgrade_available"] == "0"
    assert "BED: the product is checked" in device.console.text()
    journal = device.ssh("journalctl -b --no-pager")
    assert "ordering cycle" not in journal and "Operation not permitted" not in journal, journal
    assert device.ssh(f"systemctl is-active {SYSTEMDS} rust-ota-finalize.service rust-ota.service").split() == ["active"] * 3


def test_b_a_boot_that_the_products_check_refuses_is_undone(device):
    device, server, releases = device
    device.ssh("fw_setenv bootlimit 1")
    starts = device.starts
    commit = releases.checked("C", DEADLINE, {SYSTEMDS: None, "product-check.service": CHECK.format(verdict="false")})
    server.publish(releases.repo, commit, 3)
    device.wait_up("C")
    device.wait_up("B", timeout=900)
    assert device.starts == starts + 2, "one trial and the boot of B"
    device.wait_for(lambda: client.status(device)["known_bad"], "record of the bad release", every=2)
    status = client.status(device)
    assert [bad["target"]["name"] for bad in status["known_bad"]] == ["device-3"] and status["pending"] is None
    assert not status["bootloader"]["trial"] and not status["bootloader"]["rolled_back"]


def test_b_a_check_that_fails_in_an_ordinary_boot_does_not_keep_its_repair_away(device):
    device, server, releases = device
    version = device.ssh("cat /usr/lib/bed-version").strip()
    verdict = f"! grep -qx {version} /usr/lib/bed-version"
    device.put("/etc/systemd/system/product-check.service", CHECK.format(verdict=verdict))
    device.ssh("mkdir -p /etc/systemd/system/boot-complete.target.requires")
    device.ssh("ln -sf ../product-check.service /etc/systemd/system/boot-complete.target.requires/")
    device.reboot()
    device.wait_up(version)
    assert device.try_ssh("systemctl is-active boot-complete.target").out.strip() == "inactive"
    server.publish(releases.repo, releases.good("D"), 4)
    device.wait_up("D", timeout=900)
    device.wait_for(lambda: client.status(device)["pending"] is None, "confirmation", every=2)
    assert client.status(device)["current"]["name"] == "device-4"


@pytest.mark.parametrize("version, what, target", [("E", FULL, 5)])
def test_c_a_var_that_cannot_be_written_reboots_nothing_and_is_repaired_by_the_next_update(device, version, what, target):
    device, server, releases = device
    units = [("spoils.service", SPOILS.format(what=what), "sysinit.target")]
    said = len(device.console.text())
    server.publish(releases.repo, releases.checked(version, SHORT, {}, units), target)
    device.wait_up(version)
    assert "BED: /var is spoiled" in device.console.text()[said:]
    unrecorded = "this boot is confirmed, but that is not recorded yet"
    device.wait_for(lambda: unrecorded in device.console.text()[said:], "word of the client")
    assert device.boot_variables()["upgrade_available"] == "0"
    starts = device.starts
    # Three times the time limit of an unconfirmed boot, by the guest's clock.
    device.wait_for(lambda: float(device.ssh("cat /proc/uptime").split()[0]) > 3 * SHORT, "three deadlines", timeout=1200, every=10)
    assert device.starts == starts, "it was rebooted"
    # What comes back is the state of before: it does not know this boot yet.
    device.ssh("umount -l /var/sota")
    following = chr(ord(version) + 1)
    server.publish(releases.repo, releases.good(following), target + 1)
    device.wait_up(following, timeout=900)
    device.wait_for(lambda: client.status(device)["pending"] is None, "confirmation", every=2)
    assert client.status(device)["current"]["name"] == f"device-{target + 1}"
