"""The image whose daemon is disabled: nothing happens by itself, and a person takes the update stage by stage."""

import pytest

from bed import client

# What the stages answer; the same numbers that scripts around aktualizr-lite know.
NEW_TARGET, REBOOT_NEEDED, PENDING, NOTHING_PENDING, NOT_DOWNLOADED = 16, 100, 30, 40, 80


@pytest.fixture(scope="module")
def bed(disabled_image, bench):
    return bench.connected_device(disabled_image)


def test_d_the_disabled_image_is_updated_by_hand_stage_by_stage(bed):
    device, server, releases = bed

    def stage(command):
        answer = device.try_ssh(f"rust-ota {command}")
        return answer.code, answer.out

    device.power_on()
    device.wait_up("A")
    assert device.try_ssh("systemctl is-active rust-ota.service").out.strip() == "inactive"
    assert server.requests("") == [], "a disabled client asked the server"
    # The unit that confirms a boot is enabled in every image; here it is kept from running, to finalize by hand too.
    device.ssh("systemctl mask --quiet rust-ota-finalize.service")

    server.publish(releases.repo, releases.good("B"), 2)
    code, out = stage("install")
    assert code == 1 or code == NOT_DOWNLOADED, out
    code, out = stage("check")
    assert code == NEW_TARGET and "device-2" in out, out
    assert server.requests("/treehub/") == [], "check fetched content"
    code, out = stage("install")
    assert code == NOT_DOWNLOADED, out
    code, out = stage("download")
    assert code == 0, out
    assert client.status(device)["pending"] is None
    fetched = len(server.requests("/treehub/"))
    assert fetched > 0
    code, out = stage("install")
    assert code == REBOOT_NEEDED, out
    assert len(server.requests("/treehub/")) == fetched, "install used the network"
    code, out = stage("update")
    assert code == PENDING, out

    device.reboot()
    device.wait_up("B")
    status = client.status(device)
    assert status["pending"]["target"]["name"] == "device-2" and status["bootloader"]["trial"], "confirmed without being told to"
    code, out = stage("finalize")
    assert code == 0 and "device-2" in out, out
    status = client.status(device)
    assert status["pending"] is None and status["current"]["name"] == "device-2" and not status["bootloader"]["trial"]
    code, out = stage("finalize")
    assert code == NOTHING_PENDING, out
    code, out = stage("check --json")
    assert code == 0, out


def test_d_one_update_by_the_unit_that_is_made_for_it(bed):
    device, server, releases = bed
    server.publish(releases.repo, releases.good("E"), 3)
    device.ssh("systemctl unmask --quiet rust-ota-finalize.service && systemctl start rust-ota-update.service", timeout=300)
    assert client.status(device)["pending"]["target"]["name"] == "device-3"
    told, asked = len(server.requests("/events")), len(server.requests("/repo/"))
    device.reboot()
    device.wait_up("E")
    assert len(server.requests("/events")) > told, "the server was not told of the result"
    assert len(server.requests("/repo/")) == asked, "the report asked for metadata"
    status = client.status(device)
    assert status["pending"] is None and status["current"]["name"] == "device-3" and not status["bootloader"]["trial"]
    assert device.try_ssh("systemctl is-enabled rust-ota.service").out.strip() in ("disabled", "indirect"), "an update enabled the service"
