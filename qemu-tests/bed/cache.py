"""Made things are kept outside the source tree, keyed by the content of everything they are made from."""

import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(os.environ.get("RUST_OTA_CACHE") or pathlib.Path.home() / ".cache/rust-ota") / "qemu"
# PATH of the system first: tools of a private Python or toolchain must not leak into an image.
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def key(*inputs):
    """A key from strings, bytes, files and folders: the same content gives the same key."""
    digest = hashlib.sha256()
    for item in inputs:
        for name, data in _content(item):
            digest.update(f"{name}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()[:16]


def made(kind, key, make):
    """The folder ROOT/kind-key; `make(folder)` fills it when it is not there. Safe with several processes."""
    ROOT.mkdir(parents=True, exist_ok=True)
    done = ROOT / f"{kind}-{key}"
    with open(ROOT / f".{kind}-{key}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists():
            os.utime(done)
            return done
        began = time.monotonic()
        say(f"making {kind} (cached as {done})")
        work = pathlib.Path(tempfile.mkdtemp(prefix=f".{kind}-", dir=ROOT))
        try:
            make(work)
            work.rename(done)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
        say(f"made {kind} in {time.monotonic() - began:.0f} s")
    return done


def run(*argv, log=None, rooted=False, **more):
    """Runs a program with the system's PATH. `rooted`: as root, or as root of a user namespace."""
    argv = [str(arg) for arg in argv]
    if rooted and os.geteuid() != 0:
        argv = ["unshare", "--map-root-user", "--map-auto", *argv]
    env = {**os.environ, "PATH": SYSTEM_PATH, "LC_ALL": "C", **more.pop("env", {})}
    result = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
    if log:
        pathlib.Path(log).write_text(result.stdout + result.stderr)
    if result.returncode:
        tail = "\n".join((result.stdout + result.stderr).splitlines()[-20:])
        raise RuntimeError(f"{' '.join(argv)}: exit code {result.returncode}\n{tail}")
    return result.stdout.strip()


def say(text):
    """Progress for a person. Not on stdout: pytest owns that."""
    print(f"test bed: {text}", file=sys.__stderr__, flush=True)


def _content(item):
    if isinstance(item, bytes):
        yield "", item
    elif not isinstance(item, pathlib.Path):
        yield "", str(item).encode()
    elif item.is_dir():
        for path in sorted(item.rglob("*")):
            if path.is_symlink():
                yield f"{path.relative_to(item)}@", os.readlink(path).encode()
            elif path.is_file():
                yield f"{path.relative_to(item)} {path.stat().st_mode & 0o111:o}", path.read_bytes()
    else:
        yield item.name, item.read_bytes()
