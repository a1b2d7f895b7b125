"""Shows a newcomer a device's life: it boots, takes an update, is broken by the next one, and comes back by itself.

Run it by scripts/demo, which builds what it needs.
"""

import argparse
import pathlib
import re
import shutil
import threading
import time

from bed import client
from bed.device import Device
from bed.releases import Releases
from bed.server import Server

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "target/demo"
# What a reader of the serial console would point at.
TELLING = re.compile(r"rust-ota-boot: (boot|environment|\d)|rust-ota\[|Kernel panic|reboot: Restarting|BED-UP|device-\d")
STARTED = time.monotonic()


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--keep", action="store_true", help="leave disk, logs and repository in target/demo")
    keep = options.parse_args().keep
    work = FOLDER / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        show(work)
    finally:
        if keep:
            print(f"\nDisk, serial log and repository are in {work}")
        else:
            shutil.rmtree(work, ignore_errors=True)


def show(work):
    with Step("Making a disk image from Debian packages: an OSTree system with the client in it (minutes the first time)"):
        image = client.image(enabled=True)
        releases = Releases(image, work)
    with Step("Making keys, and a signed repository that offers release A to devices of this kind"):
        say("Everything under ota/ is plain files: any static web server can serve it. The keys stay beside it.")
        server = Server(work, client.HARDWARE_ID)
        server.publish(releases.repo, image.commit, 1)
        server.start()
    device = Device(image, work, server_port=server.port)
    client.put_credentials(device.disk, server.credentials())
    try:
        with Narrator(device):
            life(device, server, releases)
    finally:
        device.close()
        server.stop()


def life(device, server, releases):
    with Step(f"Switching a device on ({'with KVM' if device.accel == 'kvm' else 'emulated, so a boot takes a minute or more'})"):
        say("It has the repository's first root and its own TLS certificate, as a factory would give them.")
        device.power_on()
        device.wait_up("A")
        print_status(device)
    with Step("Publishing release B; the device finds it by itself"):
        say("It polls, verifies the signatures, fetches what is missing, deploys beside the running system, and reboots.")
        server.publish(releases.repo, releases.good("B"), 2)
        device.wait_up("B", timeout=600)
        wait_for_confirmation(device)
        say("The bootloader had B on trial; now that the system is up, the client has confirmed it.")
        print_status(device)
    with Step("Publishing release C, which is broken: its kernel panics at each boot"):
        say("Nobody helps. The bootloader counts three tries and goes back to B; the client notes what happened.")
        server.publish(releases.repo, releases.panics("C"), 3)
        device.wait_up("B", timeout=900)
        wait_for_confirmation(device)
        print_status(device)
        say("Why does it not try again?")
        print_output(device.try_ssh("rust-ota explain").out)
    with Step("Publishing release D, which is good again"):
        server.publish(releases.repo, releases.good("D"), 4)
        device.wait_up("D", timeout=600)
        wait_for_confirmation(device)
        print_status(device)
    total = time.monotonic() - STARTED
    print(f"\nThat was the whole life of an update, good and bad, in {total:.0f} s. Next: README.md, \"On a device\".")


def wait_for_confirmation(device):
    device.wait_for(lambda: client.status(device)["pending"] is None, "boot confirmation", every=2)


def print_status(device):
    say("On the device, `rust-ota status` says:")
    print_output(device.try_ssh("rust-ota status 2>/dev/null").out)


def print_output(text):
    for line in text.strip().splitlines():
        print(f"      {line}", flush=True)


def say(text):
    print(f"    {text}", flush=True)


class Step:
    """A heading, and how long what follows took."""

    def __init__(self, title):
        self.title = title

    def __enter__(self):
        self.began = time.monotonic()
        print(f"\n==> {self.title}", flush=True)

    def __exit__(self, kind, error, trace):
        word = "failed after" if error else "done in"
        print(f"    {word} {time.monotonic() - self.began:.0f} s", flush=True)


class Narrator:
    """Prints the telling lines of the serial console as they come."""

    def __init__(self, device):
        self.device, self.shown = device, 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.follow, daemon=True)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *error):
        self.ended.set()
        self.thread.join()

    def follow(self):
        while not self.ended.wait(0.5):
            lines = self.device.console.text().split("\n")[:-1]
            for line in lines[self.shown :]:
                if TELLING.search(line):
                    print(f"      | {line.strip()[:140]}", flush=True)
            self.shown = len(lines)


if __name__ == "__main__":
    main()
