"""A device with Compose apps: what its tests do with Docker and with Podman alike."""

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
            # This device has no D-Bus, by which Podman would ask systemd for control groups.
            self.device.ssh("mkdir -p /etc/containers/containers.conf.d")
            self.device.put("/etc/containers/containers.conf.d/bed.conf", '[engine]\ncgroup_manager = "cgroupfs"\n')
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

    def status(self):
        return json.loads(self.device.ssh("rust-ota status --json 2>/dev/null", timeout=300))
