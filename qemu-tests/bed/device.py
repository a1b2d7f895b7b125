"""One device: a QEMU process with a power switch, a serial console that is a log file, and ssh."""

import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

from . import kvm
from .console import Console
from .disk import Disk
from .ssh import Ssh

# Wall times are of the machine that runs this, so every time-out is a multiple of this.
SCALE = float(os.environ.get("RUST_OTA_TIMEOUT_SCALE", "1"))
BOOT = 300
# Where the guest finds the host's server: `ota.test` in its /etc/hosts.
SERVER = ("10.0.2.100", 8443)


class DeviceError(Exception):
    """The device did not do what the test needs."""


class Device:
    """A copy of an image's disk in a machine. `server_port`: the one port of the host's loopback that the guest can reach."""

    def __init__(self, image, folder, name="device", server_port=None, accel=None):
        self.image, self.name, self.server_port = image, name, server_port
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.disk = Disk(image, self.folder / f"{name}.img")
        self.console = Console(self.folder / f"{name}.serial.log")
        self.accel = accel or kvm.accel(image)
        self.starts = 0  # power-on and each reset: how often the firmware ran
        self._ssh = Ssh(_free_port(), image.path("ssh_key"))
        self._errors = self.folder / f"{name}.qemu.log"
        self._process = None
        self._keeper = None
        self._off = threading.Event()
        self._failure = None

    # --- power

    @property
    def is_on(self):
        return bool(self._keeper and self._keeper.is_alive())

    def power_on(self):
        """Starts the machine. It stays on, through its own resets, until `power_cut`."""
        if self.is_on:
            raise DeviceError(f"{self.name} is on")
        self._off.clear()
        self._keeper = threading.Thread(target=self._keep_on, daemon=True)
        self._keeper.start()

    def power_cut(self):
        """The mains plug: what the guest has not yet written to its disk is lost."""
        self._off.set()
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        if self._keeper:
            self._keeper.join()
        self._ssh.hang_up()

    def close(self):
        """Power off for good."""
        self.power_cut()
        self._ssh.close()
        self.disk.path.unlink(missing_ok=True)

    def _keep_on(self):
        # A reset by the guest ends QEMU (-no-reboot) and a new one starts: warm resets are slow under TCG, and so resets are counted.
        # The kernel kills QEMU when this thread ends, so none outlives a test run that was killed.
        while not self._off.is_set():
            with open(self._errors, "ab") as errors:
                argv = ["setpriv", "--pdeathsig", "KILL", *self._argv()]
                self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, start_new_session=True)
            self.starts += 1
            code = self._process.wait()
            if code and not self._off.is_set():
                self._failure = f"{self.name}: QEMU ended with exit code {code}: {self._errors.read_text()[-500:]}"
                return

    def _argv(self):
        m = self.image.manifest
        net = f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self._ssh.port}-:22"
        if self.server_port:
            net += f",guestfwd=tcp:{SERVER[0]}:{SERVER[1]}-cmd:socat - TCP:127.0.0.1:{self.server_port}"
        cpu = os.environ.get("RUST_OTA_QEMU_CPU") or m["cpu"][self.accel]
        argv = [f"qemu-system-{m['arch']}", "-accel", self.accel, "-cpu", cpu, "-m", m["memory"]]
        argv += ["-display", "none", "-nodefaults", "-no-user-config", "-no-reboot", *m.get("machine_args", [])]
        argv += ["-bios", str(self.image.path("firmware"))]
        argv += ["-chardev", f"file,id=serial,path={self.console.path},append=on", "-serial", "chardev:serial"]
        argv += ["-drive", f"if=none,id=disk,format=raw,cache=writeback,file={self.disk.path}", "-device", "virtio-blk-pci,drive=disk"]
        argv += ["-netdev", net, "-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci"]
        return argv

    # --- waiting

    def wait_for(self, condition, what, timeout=BOOT, every=0.1):
        """Waits until `condition()` is true, and returns its value."""
        end = time.monotonic() + timeout * SCALE
        while not (value := condition()):
            if self._failure:
                raise DeviceError(self._failure)
            if time.monotonic() > end:
                raise DeviceError(f"{self.name}: no {what} within {timeout * SCALE:.0f} s; the console's end:\n{self.console.tail()}")
            time.sleep(every)
        return value

    def wait(self, pattern, timeout=BOOT, every=0.1):
        """Waits for a pattern on the serial console, behind the last one found there. Returns the match."""
        return self.wait_for(lambda: self.console.find(pattern), f"{pattern!r} on the serial console", timeout, every)

    def wait_up(self, version=None, timeout=BOOT):
        """Waits until a release is up, and ssh with it. Returns its version."""
        found = self.wait(self.image.manifest["up_marker"], timeout).group(1)
        if version is not None and found != version:
            raise DeviceError(f"{self.name}: release {found} is up, not {version}")
        self._ssh.hang_up()
        end = time.monotonic() + timeout * SCALE
        while (answer := self._ssh.run("true", timeout=30 * SCALE)).code != 0:
            if self._failure or time.monotonic() > end:
                raise DeviceError(self._failure or f"{self.name}: no ssh: {answer.out}")
            time.sleep(0.5)
        return found

    # --- commands

    def ssh(self, script, timeout=120):
        """Runs a shell script in the guest and returns its output. Another exit code than 0 is an error."""
        result = self.try_ssh(script, timeout)
        if result.code != 0:
            raise DeviceError(f"{self.name}: exit code {result.code} of: {script}\n{result.out}")
        return result.out.strip()

    def try_ssh(self, script, timeout=120):
        """Runs a shell script in the guest; any exit code is a result."""
        return self._ssh.run(script, timeout * SCALE)

    def start_ssh(self, script):
        """Starts a shell script in the guest, on a connection of its own, and does not wait for it."""
        argv = self._ssh.argv(script, multiplex=False)
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def forward(self, address):
        """Starts a process that leads this address of the guest to the same address here. It ends with the connection."""
        argv = self._ssh.argv("echo; exec sleep infinity", multiplex=False)
        return subprocess.Popen([*argv[:-2], "-R", f"{address}:{address}", *argv[-2:]], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def put(self, path, data):
        """Writes a file in the guest."""
        data = data.encode() if isinstance(data, str) else data
        result = self._ssh.run(f'mkdir -p "$(dirname {path})" && cat >{path}', 60 * SCALE, stdin=data)
        if result.code != 0:
            raise DeviceError(f"{self.name}: cannot write {path}: {result.out}")

    def boot_variables(self):
        """The boot variables as the running system reads them."""
        return dict(line.split("=", 1) for line in self.ssh("fw_printenv").splitlines() if "=" in line)

    def reboot(self):
        """Asks the guest to reboot. What the console said until now is passed over."""
        self.console.skip()
        self.try_ssh("systemctl --no-block reboot")


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
