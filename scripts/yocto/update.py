"""Updates a sysroot that nobody runs, by a program that was just built: publish, check, update, the new deployment in its place.

    update.py PROGRAM OTA_REPO FOLDER
"""

import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

PROGRAM, OTA_REPO, FOLDER = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
# libostree makes deployments immutable otherwise, and the folder could not be removed.
os.environ["OSTREE_SYSROOT_DEBUG"] = "mutable-deployments"


def run(*words, code=0):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if done.returncode != code:
        sys.exit(f"{' '.join(str(word) for word in words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def release(version):
    """A commit with a kernel, published as board-VERSION. Its checksum."""
    modules = FOLDER / "tree/usr/lib/modules/6.1.0"
    modules.mkdir(parents=True, exist_ok=True)
    (FOLDER / "tree/usr/etc").mkdir(exist_ok=True)
    (modules / "vmlinuz").write_text(f"kernel {version}")
    (FOLDER / "tree/usr/etc/os-release").write_text(f"ID=test\nVERSION={version}\nPRETTY_NAME=test\n")
    # Owners as they are: only root can give files away.
    commit = run("ostree", "commit", f"--repo={FOLDER}/repo", "-b", "main", f"--tree=dir={FOLDER}/tree").strip()
    run(OTA_REPO, "target", "add", FOLDER / "ota", "--ostree-repo", FOLDER / "repo", "--commit", commit, "--name", "board", "--version", version, "--hardware-id", "board")
    return commit


def sysroot():
    """A device with the first release."""
    root = FOLDER / "sysroot"
    root.mkdir()
    run("ostree", "admin", "init-fs", root)
    run("ostree", "admin", f"--sysroot={root}", "os-init", "test")
    run("ostree", "pull-local", f"--repo={root}/ostree/repo", FOLDER / "repo", "main")
    run("ostree", "admin", f"--sysroot={root}", "deploy", "--os=test", "main")


def configure(port):
    run(OTA_REPO, "tls", FOLDER / "ota", "--host", "localhost", "--device", "device-1")
    files, conf = FOLDER / "files", FOLDER / "conf.d"
    run(OTA_REPO, "device-config", FOLDER / "ota", "--server", f"https://localhost:{port}", "--hardware-id", "board", "--device", "device-1", "--out", files)
    conf.mkdir()
    for fragment in files.rglob("*.toml"):
        text = fragment.read_text().replace("/usr/lib/sota", f"{files}/usr/lib/sota").replace("/var/sota", f"{files}/var/sota")
        (conf / f"10-{fragment.name}").write_text(text)
    (conf / "90-test.toml").write_text(
        f'[pacman]\nos = "test"\nsysroot = "{FOLDER}/sysroot"\nbooted = 0\n[storage]\npath = "{files}/var/sota"\n'
        f'[bootloader]\nrollback_mode = "none"\nreboot_sentinel_dir = "{FOLDER}"\nreboot_command = "/bin/true"\n'
    )
    return conf


def serve(port):
    server = subprocess.Popen([OTA_REPO, "serve", FOLDER / "ota", "--listen", f"localhost:{port}", "--tls", "--quiet"], stdout=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with socket.socket() as trial:
            if trial.connect_ex(("localhost", port)) == 0:
                return server
        time.sleep(0.05)
    sys.exit("ota-repo does not serve")


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    (FOLDER / "tree").mkdir(parents=True)
    run("ostree", "init", f"--repo={FOLDER}/repo", "--mode=archive")
    run(OTA_REPO, "init", FOLDER / "ota")
    release(1)
    sysroot()
    newest = release(2)
    with socket.socket() as trial:
        trial.bind(("localhost", 0))
        port = trial.getsockname()[1]
    conf, server = configure(port), serve(port)
    try:
        # Installed, and wants a reboot.
        run(PROGRAM, "-c", conf, "update", code=100)
    finally:
        server.terminate()
    first = run("ostree", "admin", f"--sysroot={FOLDER}/sysroot", "status").split()
    if not any(word.startswith(newest) for word in first[:3]):
        sys.exit(f"the newest deployment is not {newest}: {' '.join(first)}")
    run("ostree", "fsck", f"--repo={FOLDER}/sysroot/ostree/repo")
    print(f"{pathlib.Path(PROGRAM).name}: updated a sysroot to {newest[:12]}")


main()
