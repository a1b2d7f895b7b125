"""ssh into the guest: one multiplexed connection, because under TCG each new one costs seconds."""

import dataclasses
import pathlib
import shutil
import subprocess
import tempfile


@dataclasses.dataclass
class Result:
    code: int
    out: str


class Ssh:
    def __init__(self, port, key):
        self.port = port
        # A socket's path must be short, and a private key's mode strict whatever the cache's is.
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix="bed-ssh-"))
        shutil.copy(key, self._folder / "key")
        (self._folder / "key").chmod(0o600)

    def run(self, script, timeout, stdin=None):
        """Exit code and output. No answer in time is exit code -1; no connection is ssh's own 255."""
        try:
            done = subprocess.run(self.argv(script), input=stdin or b"", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout)
        except subprocess.TimeoutExpired as late:
            return Result(-1, f"no answer within {timeout:.0f} s; until then: {(late.output or b'').decode(errors='replace')}")
        return Result(done.returncode, done.stdout.decode(errors="replace"))

    def argv(self, script, multiplex=True):
        options = ["-F/dev/null", f"-i{self._folder}/key", f"-p{self.port}", "-oBatchMode=yes", "-oConnectTimeout=10", "-oLogLevel=ERROR"]
        options += ["-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null"]
        options += ["-oServerAliveInterval=10", "-oServerAliveCountMax=6"]
        if multiplex:
            options += ["-oControlMaster=auto", f"-oControlPath={self._folder}/control", "-oControlPersist=300"]
        return ["ssh", *options, "root@127.0.0.1", script]

    def hang_up(self):
        """Ends the shared connection, whose other end is gone."""
        if (self._folder / "control").exists():
            subprocess.run(["ssh", "-F/dev/null", "-Oexit", f"-oControlPath={self._folder}/control", "x"], stderr=subprocess.DEVNULL, check=False)

    def close(self):
        self.hang_up()
        shutil.rmtree(self._folder, ignore_errors=True)
