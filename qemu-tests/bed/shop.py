"""A device with Compose apps: what its tests do with Docker and with Podman alike."""

import contextlib
import json

from . import client

SERVICE = """\
services:
  web:
    image: {image}
    network_mode: none
    restart: {restart}
    command: ["sh", "-c", "{command}"]
"""
STAYS = "trap 'exit 0' TERM; while true; do sleep 1; done"


class Shop:
    """A device whose engine is `docker` or `podman`, its server, and a registry."""

    def __init__(self, bench, image, engine):
        self.engine = engine
        self.device, self.server, self.releases = bench.connected_device(image, engine, hosts=("ota.test", "127.0.0.1"))
        self.registry = bench.registry(self.server)
        self.one, self.two = self.registry.image("f/web:1", "one"), self.registry.image("f/web:2", "two")
        self.device.power_on()
        self.device.wait_up("A", timeout=900)
        self.device.put("/etc/sota/conf.d/70-apps.toml", self._fragment())
        # An emulated machine is slow: as a product's image gives the unit the time that its apps need.
        self.device.put("/etc/systemd/system/rust-ota-finalize.service.d/apps.conf", "[Service]\nTimeoutStartSec=infinity\n")
        if engine == "podman":
            # Within the sandbox of our units Podman is asked through its socket.
            self.device.ssh("systemctl enable --now podman.socket", timeout=300)
        self.registry.reach(self.device)

    def _fragment(self):
        lines = ["[pacman]", "type = ostree+compose_apps", "storage_watermark = 95", "[rust_ota]", f"engine = {self.engine}"]
        # An emulated machine is slow.
        lines += [f"registry_ca = {client.STATE}/root.crt", "app_start_sec = 600", "app_settle_sec = 5", ""]
        return "\n".join(lines)

    def app(self, name, image, command=STAYS, restart="always", more=""):
        """Publishes an app of one service."""
        return self.registry.app(name, SERVICE.format(image=image, command=command, restart=restart) + more)

    def target(self, version, apps, commit=None):
        """Publishes a Target: these apps with release A, or with another commit."""
        return self.server.publish(self.releases.repo, commit or self.device.image.commit, version, apps)

    def system(self):
        """The commit that runs."""
        return self.status()["current"]["commit"]

    def client(self, command, timeout=900):
        """Runs the client: exit code and output."""
        answer = self.device.try_ssh(f"rust-ota {command} 2>&1", timeout)
        return answer.code, answer.out

    def versions(self):
        """What each running container says it is: {app: version}."""
        script = f"""for id in $({self.engine} ps -q); do
            echo "$({self.engine} inspect --format '{{{{index .Config.Labels "com.docker.compose.project"}}}}' $id) $({self.engine} exec $id cat /version)"
        done"""
        lines = self.device.ssh(script, timeout=300).splitlines()
        return dict(line.split() for line in lines if line.count(" ") == 1)

    def containers(self):
        """Every container, and since when it runs: the same text as before where none was touched."""
        return self.device.ssh(f"{self.engine} inspect --format '{{{{.Id}}}} {{{{.State.StartedAt}}}}' $({self.engine} ps -aq) | sort", timeout=300)

    def settings(self, name, text):
        """A fragment of the device; without text it goes."""
        path = f"/etc/sota/conf.d/{name}.toml"
        self.device.put(path, text) if text else self.device.ssh(f"rm -f {path}")

    @contextlib.contextmanager
    def full_disk(self):
        """Not one block is left, for a while."""
        self.device.ssh(
            "fallocate -l $(df -B1 --output=avail /var | tail -1) /var/filler; while dd if=/dev/zero of=/var/filler.$((n += 1)) bs=64k 2>/dev/null; do :; done; sync"
        )
        yield
        self.device.ssh("rm -f /var/filler*")

    def reboot_into(self, version, number=None, awaiting=None):
        """Reboots into a release; waits until this Target is confirmed, or another one waits for the next reboot."""
        self.device.reboot()
        self.device.wait_up(version, timeout=900)
        self.device.wait_for(lambda: self._settled(number, awaiting), f"Target {number or awaiting}", 900, 5)

    def _settled(self, number, awaiting):
        status = self.status()
        if awaiting:
            return bool(status["pending"]) and status["pending"]["target"]["name"] == f"device-{awaiting}"
        return status["pending"] is None and status["current"]["name"] == f"device-{number}"

    def kill_download(self, digits, moment):
        """Kills a download so many seconds after this blob began to arrive. Bytes of it that are there then."""
        script = f"""{self._download_until(digits)}
            sleep {moment}; kill -9 $pid; wait $pid 2>/dev/null; cat {self._blob(digits)}.partial {self._blob(digits)} 2>/dev/null | wc -c"""
        return int(self.device.ssh(script, timeout=300))

    def cut_download(self, digits):
        """Cuts the power as this blob arrives, and waits until the device is up again."""
        self.device.ssh(f"{self._download_until(digits)}; sync", timeout=300)
        self.device.power_cut()
        self.device.console.skip()
        self.device.power_on()
        self.device.wait_up(timeout=900)

    def _blob(self, digits):
        return f"{client.STATE}/reset-apps/blobs/sha256/{digits}"

    def _download_until(self, digits):
        """Starts a download; goes on when bytes of this blob are there, or it has ended."""
        return f"""rust-ota download >/dev/null 2>&1 & pid=$!
            while kill -0 $pid 2>/dev/null && ! [ -s {self._blob(digits)}.partial ]; do sleep 0.05; done"""

    def status(self):
        return json.loads(self.device.ssh("rust-ota status --json 2>/dev/null", timeout=300))
