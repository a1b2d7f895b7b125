"""The serial console as a file: QEMU appends to it, tests read it, and nothing that was printed is ever missed."""

import re

_ANSI = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[()][A-Z0-9]|\r")


class Console:
    def __init__(self, path):
        self.path = path
        path.write_bytes(b"")
        self._position = 0

    def text(self):
        return _ANSI.sub(b"", self.path.read_bytes()).decode(errors="replace")

    def find(self, pattern):
        """The next match behind the last one found."""
        match = re.compile(pattern).search(self.text(), self._position)
        if match:
            self._position = match.end()
        return match

    def skip(self):
        """What was printed until now is not looked at any more."""
        self._position = len(self.text())

    def tail(self, lines=25):
        return "\n".join(self.text().splitlines()[-lines:])
