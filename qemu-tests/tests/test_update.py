"""One device's life with its daemon enabled: a good update, two broken ones that the bootloader undoes, and a good one again.

The tests share the device, in this order; each first brings it to where it begins, so that one can be run alone.
"""

import functools

import pytest

from bed import client
from bed.device import SCALE

# The image counts up to 3. Three boots of D would only take longer, and so the limit of the environment is seen to count too.
LIMIT_OF_D = 2
DEADLINE_OF_D = int(90 * SCALE)


@pytest.fixture(scope="module")
def story(enabled_image, bench):
    return Story(*bench.connected_device(enabled_image))


def once(step):
    """A step of the story is taken once; what came of it, also a failure, is there for every test."""

    @functools.wraps(step)
    def taken(story):
        if step.__name__ not in story.taken:
            try:
                story.taken[step.__name__] = step(story), None
            except Exception as error:
                story.taken[step.__name__] = None, error
        result, error = story.taken[step.__name__]
        if error:
            raise error
        return result

    return taken


class Story:
    def __init__(self, device, server, releases):
        self.device, self.server, self.releases = device, server, releases
        self.taken = {}

    @once
    def a_runs(self):
        self.device.power_on()
        self.device.wait_up("A")

    @once
    def b_is_taken(self):
        self.a_runs()
        self.server.publish(self.releases.repo, self.releases.good("B"), 2)
        self.device.wait_up("B")
        return client.status(self.device)

    @once
    def c_is_undone(self):
        """C panics. Returns the resets and what the firmware said."""
        self.b_is_taken()
        return self._undone(self.releases.panics("C"), 3, "B")

    @once
    def c_is_left_alone(self):
        """The daemon has polled several times since."""
        self.c_is_undone()
        return self._polls(3)

    @once
    def d_is_undone(self):
        """D's systemd does not reach boot-complete.target, and the deadline resets it."""
        self.c_is_left_alone()
        self.device.ssh(f"fw_setenv bootlimit {LIMIT_OF_D}")
        return self._undone(self.releases.hangs("D", DEADLINE_OF_D), 4, "B")

    @once
    def d_is_left_alone(self):
        self.d_is_undone()
        return self._polls(3)

    @once
    def e_is_taken(self):
        self.d_is_left_alone()
        self.server.publish(self.releases.repo, self.releases.good("E"), 5)
        self.device.wait_up("E")
        return client.status(self.device)

    def _undone(self, commit, version, back_to):
        starts, said = self.device.starts, len(self.device.console.text())
        self.server.publish(self.releases.repo, commit, version)
        self.device.wait_up(back_to, timeout=900)
        return {"starts": self.device.starts - starts, "said": self.device.console.text()[said:], "status": client.status(self.device)}

    def _polls(self, count):
        starts = self.device.starts
        before = len(self.server.requests("/repo/timestamp.json")), len(self.server.requests("/treehub/"))
        self.device.wait_for(lambda: len(self.server.requests("/repo/timestamp.json")) >= before[0] + count, "polls of the daemon")
        return {"fetched": len(self.server.requests("/treehub/")) - before[1], "starts": self.device.starts - starts}


def test_a_update_from_a_to_b_over_the_network_is_booted_and_confirmed(story):
    status = story.b_is_taken()
    assert status["current"]["name"] == "device-2" and status["ostree_hash"] == story.releases.commits["B"]
    assert status["pending"] is None and status["known_bad"] == []
    boot = status["bootloader"]
    assert not boot["trial"] and not boot["rolled_back"] and boot["variables"]["bootcount"] == "0"
    said = story.device.console.text()
    assert "rust-ota-boot: bootcount=1 bootlimit=3 upgrade_available=1 rollback=0" in said, "B's first boot was no trial"
    assert "device-2 runs and its boot is confirmed" in said


def test_a_server_lets_in_only_a_client_with_its_certificate(story):
    story.a_runs()
    # The daemon reads its configuration, and with it whether there is a certificate, once: it is to be there by then.
    story.device.ssh("timeout 120 sh -c 'until systemctl is-active -q rust-ota; do sleep 1; done'; sleep 3")
    answer = story.device.try_ssh("mv /var/sota/client.pem /var/sota/away; rust-ota check 2>&1; code=$?; mv /var/sota/away /var/sota/client.pem; exit $code")
    assert answer.code == 13, answer.out
    assert "https://ota.test:8443/repo" in answer.out


def test_b_a_commit_that_panics_is_rolled_back_by_the_bootloader(story):
    undone = story.c_is_undone()
    assert undone["said"].count("Kernel panic - not syncing") == 3, "bootlimit is 3"
    for count in (1, 2, 3):
        assert f"rust-ota-boot: bootcount={count} bootlimit=3 upgrade_available=1 rollback=0" in undone["said"]
    assert "rust-ota-boot: bootcount=4 bootlimit=3 upgrade_available=0 rollback=1" in undone["said"]
    assert undone["starts"] == 4, "three trials and the boot of B"


def test_b_the_panicking_commit_is_reported_and_remembered_as_bad(story):
    undone = story.c_is_undone()
    assert "device-3 did not come up" in undone["said"]
    status = undone["status"]
    assert status["ostree_hash"] == story.releases.commits["B"] and status["pending"] is None
    (bad,) = status["known_bad"]
    assert bad["target"]["name"] == "device-3" and bad["count"] == 1 and bad["reason"]
    boot = status["bootloader"]
    assert not boot["trial"] and not boot["rolled_back"], "the bootloader still goes back, or counts, after the client took note"


def test_b_the_panicking_commit_is_not_tried_again(story):
    assert story.c_is_left_alone() == {"fetched": 0, "starts": 0}
    answer = story.device.try_ssh("rust-ota update")
    assert answer.code == 0 and "device-3" in answer.out, answer.out


def test_b_a_commit_that_never_reaches_its_target_is_rolled_back_by_the_bootloader(story):
    undone = story.d_is_undone()
    assert undone["said"].count("BED: the product does not start") == LIMIT_OF_D
    assert undone["said"].count("nothing confirmed it in time: rebooting") == LIMIT_OF_D
    assert f"rust-ota-boot: bootcount={LIMIT_OF_D + 1} bootlimit={LIMIT_OF_D} upgrade_available=0 rollback=1" in undone["said"]
    assert undone["starts"] == LIMIT_OF_D + 1
    assert "device-4 did not come up" in undone["said"]
    assert [bad["target"]["name"] for bad in undone["status"]["known_bad"]] == ["device-3", "device-4"]


def test_b_the_commit_that_never_reaches_its_target_is_not_tried_again(story):
    assert story.d_is_left_alone() == {"fetched": 0, "starts": 0}


def test_c_a_newer_commit_is_taken_after_that(story):
    status = story.e_is_taken()
    assert status["current"]["name"] == "device-5" and status["ostree_hash"] == story.releases.commits["E"]
    assert status["pending"] is None and not status["bootloader"]["trial"]


def test_c_nothing_is_left_broken_on_the_device(story):
    story.e_is_taken()
    assert story.device.ssh("systemctl list-units --failed --no-legend --plain") == ""
    story.device.ssh("ostree fsck --quiet", timeout=300)
