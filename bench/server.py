"""A server in a process of its own, as a user starts it."""

import re
import subprocess
import sys
from tempfile import TemporaryDirectory
from types import TracebackType


class Server:
    """`with Server("--model", "echo") as server:` it serves on `server.url` with the id `server.pid`."""

    def __init__(self, *flags: str) -> None:
        self._data = TemporaryDirectory()  # or these turns would be counted among the user's own
        command = [sys.executable, "-m", "duologue", "serve", "--port", "0", "--data"]
        command += [self._data.name, "--log-level", "warning", *flags]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid

    def __enter__(self) -> "Server":
        """Wait until it serves."""
        assert self._process.stdout
        said = self._process.stdout.readline()
        found = re.search(r"http://\S+", said)
        assert found, f"the server did not start: {said}"
        self.url = found[0]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it, as Ctrl-C does."""
        self._process.terminate()
        self._process.communicate(timeout=60)
        self._data.cleanup()
