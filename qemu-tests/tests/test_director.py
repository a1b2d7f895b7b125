"""A device that has nothing but the credential of its fleet, and a Director: a person takes it through its first update stage by stage, as
the documentation of aktualizr says, and then hands it over to the daemon, which meets a release that does not start.

The tests share the device, in this order.
"""

import pytest

from bed import client
from bed.image import LAYER

SERVER = "https://ota.test:8443"
NEW_TARGET, REBOOT_NEEDED = 16, 100
# Three boots of a release that panics would only take longer.
LIMIT = 1
# The layer's own fragment, and what belongs to this server. The address comes from the zip.
SETTINGS = (LAYER / "recipes-sota/rust-ota/files/fragments/20-sota-shared-cred.toml").read_text() + """
[tls]
server = ""

[uptane]
force_install_completion = true

[rust_ota]
trust = director
director_root = "/var/sota/director-root.json"
"""


@pytest.fixture(scope="module")
def bed(disabled_image, bench):
    device, server, releases = bench.connected_device(disabled_image, shared=SERVER)
    client.put_credentials(device.disk, {"sota.toml": SETTINGS})
    device.power_on()
    device.wait_up("A")
    return device, server, releases


def aktualizr(device, mode, without_network=False):
    alone = "unshare --net " if without_network else ""
    script = f"mkdir -p /run/bin && ln -sf /usr/bin/rust-ota /run/bin/aktualizr && {alone}/run/bin/aktualizr {mode} --exit-codes"
    answer = device.try_ssh(script, timeout=300)
    return answer.code, answer.out


def test_a_first_contact_gives_the_device_a_certificate_of_its_own(bed):
    device, server, _ = bed
    assert server.devices() == [] and server.requests("") == [], "a disabled client asked the server"
    code, out = aktualizr(device, "check")
    assert code == 0, out
    (name,) = server.devices()
    assert f"Device ID: {name}" in aktualizr(device, "check")[1]
    assert [entry["status"] for entry in server.requests("/devices")] == [200]
    assert device.ssh("stat -c %a /var/sota/pkey.pem /var/sota/client.pem").split() == ["600", "600"]
    zip_file = "/var/sota/sota_provisioning_credentials.zip"
    device.ssh(f"grep -q autoprov.url {zip_file} && ! grep -q autoprov_credentials.p12 {zip_file}")


def test_b_a_person_takes_the_update_stage_by_stage(bed):
    device, server, releases = bed
    (name,) = server.devices()
    server.assign(server.publish(releases.repo, releases.good("B"), 2), name, "c-B")
    code, out = aktualizr(device, "check")
    assert code == NEW_TARGET and "device-2 is assigned" in out, out
    assert server.requests("/treehub/") == [], "check fetched content"
    code, out = aktualizr(device, "download")
    assert code == 0, out
    asked = len(server.requests("/treehub/"))
    assert asked > 0
    code, out = aktualizr(device, "install", without_network=True)
    assert code == REBOOT_NEEDED, out
    assert len(server.requests("/treehub/")) == asked
    device.reboot()
    device.wait_up("B")
    assert server.results(name) == [("c-B", True, "OK")], "told without a check"
    code, out = aktualizr(device, "check")
    assert code == 0, out
    assert server.results(name) == [("c-B", True, "OK")]
    status = client.status(device)
    assert status["current"]["name"] == "device-2" and status["ostree_hash"] == releases.commits["B"] and not status["bootloader"]["trial"]


def test_c_the_daemon_goes_on_and_reports_a_release_that_does_not_start(bed):
    device, server, releases = bed
    (name,) = server.devices()
    device.ssh(f"fw_setenv bootlimit {LIMIT}")
    server.assign(server.publish(releases.repo, releases.panics("C"), 3), name, "c-C")
    said = len(device.console.text())
    device.console.skip()
    device.ssh("systemctl enable --quiet --now rust-ota.service")
    device.wait_up("B", timeout=900)
    device.wait_for(lambda: len(server.results(name)) > 1, "report of the release that did not start")
    said = device.console.text()[said:]
    assert said.count("Kernel panic - not syncing") == LIMIT
    assert any(id == "c-C" and not good and code.endswith(":INSTALL_FAILED") for id, good, code in server.results(name)) and set(server.results(name)[:1]) == {("c-B", True, "OK")}
    status = client.status(device)
    assert status["ostree_hash"] == releases.commits["B"] and status["pending"] is None
    assert [bad["target"]["name"] for bad in status["known_bad"]] == ["device-3"]
    assert device.ssh("systemctl is-active rust-ota.service aktualizr.service").split() == ["active", "active"]
    assert [entry["status"] for entry in server.requests("/devices")] == [200], "it has its certificate"
