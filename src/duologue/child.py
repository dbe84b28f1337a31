"""A part of the program that runs as a process of its own."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from typing import cast

from duologue.errors import ModelFailed, ModelUnavailable

_log = logging.getLogger(__name__)

_PATIENCE = 60.0  # seconds to start; a cold disk and a busy machine were seen to need 5


def behave() -> None:
    """What every child does first."""
    # Ctrl-C reaches all processes of a terminal; the server ends its children when it is ready to.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32":
        os.nice(5)  # the sound of the server comes first


def tell(answer: object) -> None:
    """Answer the server, from the child: one line of JSON."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


class Child:
    """A module that runs as a process, reads its standard input and answers in lines of JSON.

    It must end when its standard input does, so that it never outlives the server.
    """

    def __init__(self, name: str, process: Process) -> None:
        self._name, self._process = name, process
        self._stdin = cast(asyncio.StreamWriter, process.stdin)  # not None: they are pipes
        self._stdout = cast(asyncio.StreamReader, process.stdout)
        self._stderr = cast(asyncio.StreamReader, process.stderr)
        self._complaint = ""
        self._listening = asyncio.create_task(self._listen())
        self.greeting: object = None

    @classmethod
    async def start(
        cls, name: str, module: str, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> "Child":
        """Start it, and wait for its first line, which is then its `greeting`.

        Args:
            name: what it is called in errors.
            module: that runs in it.
            arguments: of the module.
            environment: variables besides those of this process.

        Raises:
            ModelUnavailable: it did not start; says why.
        """
        command = (sys.executable, "-m", module, *arguments)
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                env={**os.environ, **(environment or {})},
            )
        except OSError as error:
            raise ModelUnavailable(f"the {name} could not start: {error}") from error
        child = cls(name, process)
        started = False
        try:
            async with asyncio.timeout(_PATIENCE):
                child.greeting = await child.answer()
            started = True
        except TimeoutError as error:
            raise ModelUnavailable(
                f"the {name} did not start within {_PATIENCE:.0f} seconds"
            ) from error
        except ModelFailed as error:
            raise ModelUnavailable(f"the {name} could not start: {child._complaint}") from error
        finally:
            if not started:
                await child.close()
        return child

    @property
    def alive(self) -> bool:
        """Whether it still runs, as far as is known."""
        return self._process.returncode is None

    def send(self, data: bytes) -> None:
        """Write to its standard input; all of it arrives, whether somebody waits for it or not."""
        self._stdin.write(data)

    async def answer(self) -> object:
        """The next line that it writes.

        Raises:
            ModelFailed: there is none, because the process has ended.
        """
        line = await self._stdout.readline()
        if not line.endswith(b"\n"):
            await self.close()
            raise ModelFailed(f"the {self._name} broke down: {self._complaint}")
        answer: object = json.loads(line)
        return answer

    async def close(self) -> None:
        """End it at once, and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()  # it has nothing to lose
        code = await self._process.wait()
        self._stdin.close()
        with contextlib.suppress(ConnectionError):
            await self._stdin.wait_closed()
        await self._stdout.read()
        await asyncio.shield(self._listening)
        self._complaint = self._complaint or f"its process ended with code {code}"

    async def _listen(self) -> None:
        """Read its complaints, or it would stop when the pipe is full; keep the last for the error."""
        while line := await self._stderr.readline():
            if text := line.decode(errors="replace").strip():
                _log.debug("%s: %s", self._name, text)
                self._complaint = text
