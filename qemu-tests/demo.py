#!/usr/bin/python3
"""The demonstration behind scripts/demo: a device boots, takes an update, is given a broken one, and comes back.

Everything is real: the device is a Debian system in QEMU with U-Boot in front, the client and the server are those of this project.
"""

import argparse
import pathlib
import re
import shutil
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from bed import client  # noqa: E402  (the path comes first)
from bed.device import Device  # noqa: E402
from bed.image import PROJECT  # noqa: E402
from bed.releases import Releases  # noqa: E402
from bed.server import Server  # noqa: E402

FOLDER = PROJECT / "target/demo/device"
# What of the console tells the story: the boot script, the client, a panic, and the release that came up.
TELLING = re.compile(r"^(rust-ota-boot: (?!start|environment)|BED: |\[ *[\d.]+\] rust-ota\[|\[ *[\d.]+\] (Kernel panic|reboot: ))")


def main():
    options = argparse.ArgumentParser(description="Shows an update, a broken update and the rollback on a device in QEMU.")
    options.add_argument("--keep", action="store_true", help=f"leave disk, logs and repository in {FOLDER.relative_to(PROJECT)}")
    keep = options.parse_args().keep
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    demo = Demo()
    try:
        demo.run()
    except KeyboardInterrupt:
        print("\ndemo: stopped")
        return 130
    except Exception as error:  # whatever it is: a person reads it, not a traceback
        print(f"\ndemo: {error}\nThe logs are in {FOLDER.relative_to(PROJECT)}; scripts/demo --keep leaves the disk there too.")
        return 1
    finally:
        demo.end(keep)
    if not keep:
        shutil.rmtree(FOLDER)
    return 0


class Demo:
    def __init__(self):
        self._began = time.monotonic()
        self._steps = []
        self.device = self.server = self.releases = self._follower = None

    def run(self):
        self._prepare()
        self._boot()
        self._good_update()
        self._broken_update()
        self._what_is_left()
        self._summary()

    def _prepare(self):
        with self._step("Making the device", "A Debian system becomes an OSTree commit, release A, on a disk with U-Boot's files beside it. The static client",
                        "and the units of the Yocto layer are in it. (From scratch about two minutes; later runs reuse it.)"):
            image = client.image()
        with self._step("Making the server", "ota-repo makes the keys, signs the metadata (TUF), publishes release A, and serves it over TLS to devices that",
                        "have a certificate. The device gets what a factory would give it: the first root.json and its certificate."):
            self.server = Server(FOLDER, client.HARDWARE_ID, tell=tell)
            self.releases = Releases(image, FOLDER)
            self.server.publish(self.releases.repo, image.commit, 1)
            self.server.start()
            self.device = Device(image, FOLDER, server_port=self.server.port)
            client.put_credentials(self.device.disk, self.server.credentials())

    def _boot(self):
        with self._step("The device boots release A", f"In QEMU ({_accel(self.device.accel)}). Lines that begin with | are its serial console."):
            self.device.power_on()
            self._follower = Follower(self.device.console)
            self.device.wait_up("A")
            self._show("rust-ota status")

    def _good_update(self):
        with self._step("Release B is published, and the device takes it", "Its daemon asks the server about every 10 seconds, here. It fetches what is missing, deploys it beside A, tells the",
                        "bootloader that the next boot is a trial, and reboots. Only when the new system is whole does it confirm the boot."):
            self.server.publish(self.releases.repo, self.releases.good("B"), 2)
            self.device.wait_up("B")
            self._show("rust-ota status")

    def _broken_update(self):
        with self._step("Release C is published, and it is broken", "Its initramfs is damaged, so the kernel panics and no client ever runs. The boot script counts: after 3 boots without",
                        "a confirmation it starts the deployment before. There the client finds that C did not come up."):
            self.server.publish(self.releases.repo, self.releases.panics("C"), 3)
            self.device.wait_up("B", timeout=900)

    def _what_is_left(self):
        with self._step("What the device knows now", "It runs B. C is known to be bad and is not tried again by itself, though the server still offers it."):
            self._show("rust-ota status")
            self._show("rust-ota update")

    def _summary(self):
        print("\n==> Done. How long it took:")
        for title, seconds in self._steps:
            print(f"    {seconds:5.0f} s  {title}")
        print(f"    {time.monotonic() - self._began:5.0f} s  in all")
        print("\nNext: ./scripts/test --install runs all tests; docs/testing-in-qemu.md tells how this test bed works.")

    def _show(self, command):
        time.sleep(1)  # the console's last lines first
        print(f"    device# {command}")
        for line in self.device.ssh(f"{command} 2>&1 || true").splitlines():
            print(f"      {line}")

    def _step(self, title, *explanation):
        return Step(self._steps, title, explanation)

    def end(self, keep):
        if self._follower:
            self._follower.stop()
        if self.device:
            self.device.power_cut() if keep else self.device.close()
        if self.server:
            self.server.stop()


class Step:
    """A heading, what happens and why, and at the end how long it took."""

    def __init__(self, steps, title, explanation):
        self._steps, self._title = steps, title
        print(f"\n==> {title}")
        for line in explanation:
            print(f"    {line}")

    def __enter__(self):
        self._began = time.monotonic()

    def __exit__(self, kind, *_):
        if kind is None:
            self._steps.append((self._title, time.monotonic() - self._began))
            print(f"    done in {self._steps[-1][1]:.0f} s", flush=True)


class Follower:
    """Prints the telling lines of the console as they come."""

    def __init__(self, console):
        self._console, self._shown = console, 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def stop(self):
        self._ended.set()
        self._thread.join()

    def _follow(self):
        while not self._ended.wait(0.3):
            # The last line may still be growing.
            lines = self._console.text().split("\n")[:-1]
            for line in lines[self._shown :]:
                if TELLING.search(line):
                    print(f"    | {line.rstrip()}", flush=True)
            self._shown = len(lines)


def tell(command):
    """Shows a command of the host tool as a person would type it."""
    print(f"    host$ {command}", flush=True)


def _accel(accel):
    return "with KVM" if accel == "kvm" else "emulated, since KVM cannot be used here: a boot takes about a minute"


if __name__ == "__main__":
    sys.exit(main())
