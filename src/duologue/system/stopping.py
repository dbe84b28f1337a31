"""Ctrl-C and SIGTERM: heard from the first line, said at once, and what was made is removed."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

Handler = Callable[[int, FrameType | None], None]


class Stopped(KeyboardInterrupt):
    """A signal ends the program. `code` is the exit code that shells expect then."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


@contextmanager
def raising() -> Iterator[None]:
    """Raise `Stopped` where the program is when a signal comes."""

    def stop(number: int, _: FrameType | None) -> None:
        raise Stopped(number)

    with _handled(stop):
        yield


def run(main: Coroutine[None, None, None], at_once: Callable[[], None]) -> None:
    """`asyncio.run`; a signal cancels `main`, and says so.

    Args:
        main: what runs.
        at_once: what is done at a second signal, before the process ends without waiting for anything.

    Raises:
        Stopped: a signal came.
    """
    heard: list[int] = []

    async def cancellable() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def stop(number: int, _: FrameType | None) -> None:
            heard.append(number)
            if len(heard) > 1:
                at_once()
                os._exit(128 + number)
            # Not by sys.stderr, which this signal may have interrupted.
            os.write(2, b"duologue: stopping (a second Ctrl-C ends it at once)\n")
            loop.call_soon_threadsafe(task.cancel)

        with _handled(stop):
            await main

    try:
        asyncio.run(cancellable())
    except asyncio.CancelledError:
        if not heard:
            raise
    if heard:
        raise Stopped(heard[0])


async def unwaited(work: Callable[[], object]) -> None:
    """Do slow work in a thread, as `asyncio.to_thread` does, but end without it when that is called off.

    The program must then end by `os._exit`, or Python's own end meets a thread in mid-import.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(failure: BaseException | None) -> None:
        if done.cancelled():
            return
        if failure:
            done.set_exception(failure)
        else:
            done.set_result(None)

    def run() -> None:
        failure = None
        try:
            work()
        except BaseException as error:  # noqa: BLE001  whoever waits raises it
            failure = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, failure)

    threading.Thread(target=run, daemon=True).start()
    await done


@contextmanager
def _handled(handler: Handler) -> Iterator[None]:
    before = [signal.signal(number, handler) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, former in zip(_SIGNALS, before, strict=True):
            signal.signal(number, former)
