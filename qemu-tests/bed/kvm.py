"""Which accelerator. /dev/kvm alone proves nothing: some hosts have one that cannot run a stock kernel, and QEMU then hangs."""

import os
import pathlib
import subprocess
import tempfile

from . import cache

PROBE_SECONDS = 10


def accel(image):
    """`kvm` where this image's own kernel was seen to start under it, else `tcg`. RUST_OTA_ACCEL overrides."""
    wanted = os.environ.get("RUST_OTA_ACCEL", "auto")
    if wanted != "auto":
        return wanted
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    kernel = cache.run("ostree", f"--repo={image.path('repo')}", "ls", "-C", image.commit, image.manifest["kernel"])
    answer = cache.made("kvm-probe", cache.key(boot, kernel), lambda out: _probe(image, out)) / "answer"
    return answer.read_text()


def _probe(image, out):
    """The kernel, with nothing to boot into, must get as far as a panic. In an error of KVM's, QEMU stays and says nothing."""
    with tempfile.TemporaryDirectory() as folder:
        path = image.manifest["kernel"]
        cache.run("ostree", f"--repo={image.path('repo')}", "checkout", "-U", f"--subpath={path}", image.commit, f"{folder}/kernel")
        kernel = f"{folder}/kernel/vmlinuz"
        argv = [f"qemu-system-{image.manifest['arch']}", "-accel", "kvm", "-cpu", image.manifest["cpu"]["kvm"], "-m", image.manifest["memory"]]
        argv += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio", "-kernel", kernel]
        argv += ["-append", "console=ttyS0 panic=-1 rdinit=/nosuch"]
        try:
            printed = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PROBE_SECONDS).stdout
        except subprocess.TimeoutExpired as late:
            printed = late.output or b""
    answer = "kvm" if b"Kernel panic" in printed else "tcg"
    cache.say(f"/dev/kvm is there and {'works' if answer == 'kvm' else 'does not start this kernel: emulating (TCG)'}")
    (out / "answer").write_text(answer)
