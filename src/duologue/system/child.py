"""A part of the program that runs as a process of its own."""

import asyncio
import contextlib
import ctypes
import json
import logging
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import cast

from duologue.errors import DuologueError, ModelFailed, ModelUnavailable
from duologue.system.cpus import ONE_THREAD

_log = logging.getLogger(__name__)

_PATIENCE = 60.0  # seconds to start; a cold disk and a busy machine were seen to need 5
_BUSY = 30.0  # seconds to wait for one that still computes
_AGAIN = 2.0  # seconds until the next try, where one could not be started

_LONGEST = 1 << 22  # bytes of a line

_PR_SET_PDEATHSIG = 1  # of prctl(2)

# In what a process complains of, where a limit is to blame. OpenBLAS goes on to interrupt its process
# as Ctrl-C would, so the last line says nothing.
_LIMITS = (
    "Resource temporarily unavailable",
    "Cannot allocate memory",
    "can't start new thread",
    "Too many open files",
    "bad_alloc",
    "MemoryError",
)


def behave() -> None:
    """What every child does first."""
    # Ctrl-C reaches all processes of a terminal, and SIGTERM all of a service; the server ends its children
    # when it is ready to, and they end with it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform != "win32":
        os.nice(5)  # the sound of the server comes first
    if sys.platform == "linux":
        # One that is stopped would not see its standard input end. It ends with the thread that
        # started it, which is that of the server's event loop.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


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
        self._reading = asyncio.Lock()
        self._dismissed = False
        self._holds = 0
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
                limit=_LONGEST,
                env={**ONE_THREAD, **os.environ, **(environment or {})},
            )
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread to watch it from
            raise ModelUnavailable(f"the {name} could not start: {error}") from error
        child = cls(name, process)
        started = False
        try:
            child.greeting = await child.answer(_PATIENCE)
            started = True
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

    @property
    def on_hold(self) -> bool:
        """Whether somebody holds it."""
        return self._holds > 0

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """While anybody is inside, it computes nothing; on Windows, which cannot stop it, it goes on."""
        self._holds += 1
        if self._holds == 1:
            self._signal("SIGSTOP")
        try:
            yield
        finally:
            self._holds -= 1
            if not self._holds:
                self._signal("SIGCONT")

    def _signal(self, name: str) -> None:
        with contextlib.suppress(AttributeError, ProcessLookupError):
            self._process.send_signal(getattr(signal, name))

    def send(self, data: bytes) -> None:
        """Write to its standard input; all of it arrives, whether somebody waits for it or not."""
        self._stdin.write(data)

    async def answer(self, within: float) -> object:
        """The next line that it writes, `within` so many seconds. Else it is ended.

        One that still computes is given 30 s: the machine may have much else to do.

        Raises:
            ModelFailed: there is none, because the process has ended, or hangs.
        """
        line = await self._line(within)
        if line is None:
            self._complaint = f"it gave nothing for {within:.3g} s or more"
            await self._end()
            raise ModelFailed(f"the {self._name} hung: {self._complaint}")
        if not line.endswith(b"\n"):
            await self._end()
            raise ModelFailed(f"the {self._name} broke down: {self._complaint}")
        answer: object = json.loads(line)
        return answer

    def computed(self) -> bytes:
        """What the system counts of the time that it has computed; empty where that is not told."""
        try:
            with open(f"/proc/{self._process.pid}/stat", "rb") as stat:
                return b" ".join(stat.read().rpartition(b")")[2].split()[11:13])  # proc(5)
        except OSError:
            return b""

    async def _line(self, within: float) -> bytes | None:
        slices = 1 + int(max(0.0, _BUSY - within) / within)
        for _ in range(slices):
            before = self.computed()
            try:
                async with asyncio.timeout(within), self._reading:
                    return await self._stdout.readline()
            except TimeoutError:
                if self.computed() == before:
                    break
        return None

    async def ended(self) -> str:
        """Wait until it has ended; gives back why, or nothing if it was closed."""
        code = await self._process.wait()
        return "" if self._dismissed else self._complaint or f"its process ended with code {code}"

    async def close(self) -> None:
        """End it at once, and wait until it is gone."""
        self._dismissed = self._dismissed or self.alive
        await self._end()

    async def _end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()  # it has nothing to lose
        code = await self._process.wait()
        self._stdin.close()
        with contextlib.suppress(ConnectionError):
            await self._stdin.wait_closed()
        async with self._reading:
            await self._stdout.read()
        await asyncio.shield(self._listening)
        self._complaint = self._complaint or f"its process ended with code {code}"

    async def _listen(self) -> None:
        """Read its complaints, or it would stop when the pipe is full; keep the last for the error."""
        while line := await self._stderr.readline():
            if text := line.decode(errors="replace").strip():
                _log.debug("%s: %s", self._name, text)
                if not any(sign in self._complaint for sign in _LIMITS):
                    self._complaint = text


class Kept:
    """A child that is there when it is needed: whenever it ends, another is started.

    Attributes:
        trouble: why it is not there at this moment; empty: it is.
    """

    def __init__(self, name: str, start: Callable[[], Awaitable[Child]]) -> None:
        """Keep the one that `start` starts."""
        self.trouble = ""
        self._name, self._start = name, start
        self._starting = asyncio.Lock()
        self._child: Child | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it, and keep it from now on.

        Raises:
            ModelUnavailable: it did not start; says why.
        """
        await self.ready()
        self._keeping = asyncio.create_task(self._keep())

    async def ready(self) -> Child:
        """The child that runs; if none does, one is started first.

        Raises:
            ModelUnavailable: it did not start; says why.
        """
        async with self._starting:
            if self._child is None or not self._child.alive:
                if self._child:
                    await self._child.close()
                self._child = await self._start()
                self.trouble = ""
            return self._child

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """While anybody is inside, it computes nothing."""
        with self._child.held() if self._child else contextlib.nullcontext():
            yield

    async def ask(self, data: bytes, within: float, again: str) -> object:
        """What it answers to this; where it breaks down or hangs, the next one is asked once again.

        One question at a time: the answers have no names.

        Args:
            data: to its standard input.
            within: seconds.
            again: what is done once again, for the log.

        Raises:
            ModelFailed: the next one broke down or hung, too, or could not be started.
        """
        for last in (False, True):
            try:
                child = await self.ready()
                child.send(data)
                return await child.answer(within)
            except ModelUnavailable as error:
                raise ModelFailed(str(error)) from error
            except ModelFailed as error:
                if last:
                    raise
                _log.warning("%s; %s", error, again)
        raise AssertionError("the last one has returned or raised")

    async def close(self) -> None:
        """End it for good."""
        if self._keeping:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
        async with self._starting:
            if self._child:
                await self._child.close()
            self._child = None

    async def _keep(self) -> None:
        """Start another before somebody needs it."""
        while True:
            try:
                child = await self.ready()
            except DuologueError as error:
                self.trouble = str(error)
                _log.warning("%s; trying again in %g s", error, _AGAIN)
                await asyncio.sleep(_AGAIN)
                continue
            if why := await child.ended():
                self.trouble = f"the {self._name} is being started again: {why}"
                _log.warning("%s", self.trouble)
