"""A device that was provisioned for aktualizr-lite: this client takes it over by that name, and leaves everything of the other one as it was."""

import base64
import json
import sqlite3

import pytest

from bed import client

NOTHING_CACHED, NEW_TARGET, REBOOT_NEEDED = 3, 16, 100
THEIRS = ("sql.db", "sota.toml", "client.pem", "pkey.pem", "root.crt")
# As lmp-device-register writes it.
SOTA_TOML = """[tls]
server = "https://ota.test:8443"
ca_source = "file"
pkey_source = "file"
cert_source = "file"

[provision]
server = "https://ota.test:8443"
primary_ecu_hardware_id = "qemu-device"

[uptane]
polling_sec = "300"
repo_server = "https://ota.test:8443/repo"

[pacman]
type = "ostree"
ostree_server = "https://ota.test:8443/treehub"
packages_file = "/usr/package.manifest"
tags = "main"

[storage]
type = "sqlite"
path = "/var/sota/"

[import]
base_path = "/var/sota"
tls_cacert_path = "root.crt"
tls_pkey_path = "pkey.pem"
tls_clientcert_path = "client.pem"
"""


def database(path, commit):
    """The other client's state: it runs device-1, and knows one that never came up."""
    db = sqlite3.connect(path)
    db.executescript("""
        CREATE TABLE version(version INTEGER);
        CREATE TABLE ecus(id INTEGER PRIMARY KEY, serial TEXT UNIQUE, hardware_id TEXT NOT NULL, is_primary INTEGER);
        CREATE TABLE installed_versions(id INTEGER PRIMARY KEY, ecu_serial TEXT NOT NULL, sha256 TEXT NOT NULL, name TEXT NOT NULL,
            hashes TEXT NOT NULL, length INTEGER NOT NULL DEFAULT 0, correlation_id TEXT NOT NULL DEFAULT '', is_current INTEGER NOT NULL DEFAULT 0,
            is_pending INTEGER NOT NULL DEFAULT 0, was_installed INTEGER NOT NULL DEFAULT 0, custom_meta TEXT NOT NULL DEFAULT '');
        CREATE TABLE meta(meta BLOB NOT NULL, repo INTEGER NOT NULL, meta_type INTEGER NOT NULL, version INTEGER NOT NULL);
        CREATE TABLE report_events(id INTEGER PRIMARY KEY, json_string TEXT NOT NULL);
        CREATE TABLE need_reboot(unique_mark INTEGER PRIMARY KEY, flag INTEGER NOT NULL DEFAULT 0);
    """)
    db.execute("INSERT INTO version VALUES (25)")
    db.execute("INSERT INTO ecus VALUES (0, 'serial-of-the-other-client', ?, 1)", (client.HARDWARE_ID,))
    row = "INSERT INTO installed_versions(ecu_serial, sha256, name, hashes, is_current, was_installed) VALUES ('serial-of-the-other-client', ?, ?, ?, ?, ?)"
    for name, sha256, runs in (("device-0", "0" * 64, 0), ("device-1", commit, 1)):
        db.execute(row, (sha256, name, f"sha256:{sha256};", runs, runs))
    db.commit()
    db.close()
    return path.read_bytes()


@pytest.fixture(scope="module")
def bed(disabled_image, bench, tmp_path_factory):
    device, server, releases = bench.connected_device(disabled_image)
    files = {"sota.toml": SOTA_TOML.encode(), "sql.db": database(tmp_path_factory.mktemp("sql") / "sql.db", disabled_image.commit)}
    client.put_credentials(device.disk, files)
    device.power_on()
    device.wait_up("A")
    device.ssh("mkdir -p /run/bin && ln -s /usr/bin/rust-ota /run/bin/aktualizr-lite")
    return device, server, releases, files


def lite(device, command):
    answer = device.try_ssh(f"/run/bin/aktualizr-lite {command}", timeout=300)
    return answer.code, answer.out


def theirs(device):
    """Their files: content, owner, mode and the moment of the last change."""
    return device.ssh("cd /var/sota && " + " && ".join(f"sha256sum {name} && stat -c '%n %u %a %s %.Y %i' {name}" for name in THEIRS))


def test_a_provisioned_device_is_taken_over_and_can_go_back(bed):
    device, server, releases, files = bed
    before = theirs(device)

    code, out = lite(device, "check")
    assert code == 0 and "device-1" in out, out
    code, out = lite(device, "status --json 1 2>/dev/null")
    status = json.loads(out)
    assert status["applied_target"]["name"] == "device-1" and status["device_uuid"] == "device-1" and status["tag"] == "main", out
    assert lite(device, "list")[0] == NOTHING_CACHED

    server.publish(releases.repo, releases.good("B"), 2)
    assert lite(device, "check")[0] == NEW_TARGET
    code, out = lite(device, "update")
    assert code == REBOOT_NEEDED, out
    device.reboot()
    device.wait_up("B")
    device.ssh("mkdir -p /run/bin && ln -s /usr/bin/rust-ota /run/bin/aktualizr-lite")
    status = client.status(device)
    assert status["current"]["name"] == "device-2" and status["pending"] is None, status

    assert theirs(device) == before, "what is the other client's was touched"
    left = device.ssh("ls -A /var/sota").split()
    assert not [name for name in left if name.startswith("sql.db-")], left
    assert {"rust-ota", "sql.db"} <= set(left), "the state of both stands side by side"
    assert device.ssh("base64 -w0 /var/sota/sql.db").encode() == base64.b64encode(files["sql.db"])

    # The other client finds the system that it does not know, and would go on from what it knew: its own rows say so.
    code, out = lite(device, "rollback")
    assert code == REBOOT_NEEDED, out
    device.reboot()
    device.wait_up("A")
    assert client.status(device)["current"]["name"] == "device-1"
    assert theirs(device) == before
