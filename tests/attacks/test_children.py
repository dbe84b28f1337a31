"""Processes that die, hang, or cannot be had: what that costs whoever talks, and who learns of it."""

import asyncio
import logging
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import psutil
import pytest
import pytest_asyncio

pytest.importorskip("ctranslate2")
pytest.importorskip("xllamacpp")
pytest.importorskip("espeakng_loader")

from rigs.processes import children

from duologue.audio import INPUT_RATE, AudioChunk, concatenate
from duologue.conversation.prompt import Prompt
from duologue.errors import ModelFailed, ModelUnavailable
from duologue.models import SpeechModel, load_model
from duologue.models.cascade import language, whisper
from duologue.models.cascade.whisper import Whisper
from duologue.models.watched import Watched
from duologue.system import child as child_module
from duologue.system.child import Child, Kept
from duologue.testing import ScriptedModel, tone
from models.cascade.rig import collect, needs_weights, said, spoken, together

HEARS, THINKS = "whisper_child", "llama_child"


@pytest.fixture(scope="module", autouse=True)
def _patience() -> Iterator[None]:
    """More than the product has: a machine on which tests run may have much else to do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whisper, "_LIMIT", 300.0)
        patch.setattr(language, "_PATIENCE", 300.0)
        yield


@contextmanager
def short(module: ModuleType, limit: str) -> Iterator[None]:
    """The product's own patience, until somebody was found to hang."""

    class Lengthen(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if " hung: " in record.getMessage():
                setattr(module, limit, patient)

    patient, lengthen = getattr(module, limit), Lengthen()
    setattr(module, limit, 3.0)
    logging.getLogger("duologue").addHandler(lengthen)
    try:
        yield
    finally:
        logging.getLogger("duologue").removeHandler(lengthen)
        setattr(module, limit, patient)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model() -> AsyncIterator[SpeechModel]:
    cascade = load_model("cascade")
    await cascade.start()
    yield cascade
    await cascade.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def speech() -> AudioChunk:
    return await spoken("What is the weather like today?")


async def until(true: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(60):
            while not true():
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"it never came to that: {what}")


def pids(part: str) -> set[int]:
    return {process.pid for process in children(part)}


@needs_weights
@together
async def test_a_recogniser_that_hangs_is_replaced_and_the_turn_is_answered(
    model: SpeechModel, speech: AudioChunk, caplog: pytest.LogCaptureFixture
) -> None:
    hung = pids(HEARS)
    for pid in hung:
        os.kill(pid, signal.SIGSTOP)
    with short(whisper, "_LIMIT"):
        assert said(await collect(model, Prompt(speech)))
    assert "the recogniser hung: it gave nothing for" in caplog.text
    for pid in pids(HEARS) & hung:  # nobody has asked it yet
        os.kill(pid, signal.SIGKILL)
    await until(lambda: len(pids(HEARS) - hung) == 1, "another runs")
    assert said(await collect(model, Prompt(speech)))


@needs_weights
@together
async def test_a_recogniser_that_dies_costs_no_turn(model: SpeechModel, speech: AudioChunk) -> None:
    long = Prompt(concatenate([speech] * 5, INPUT_RATE))
    replies = [asyncio.create_task(collect(model, long)) for _ in range(2)]
    await asyncio.sleep(0.1)
    for pid in pids(HEARS):
        os.kill(pid, signal.SIGKILL)
    assert all([said(await reply) for reply in replies])


@needs_weights
@together
@pytest.mark.parametrize("part", [HEARS, THINKS])
async def test_a_child_that_dies_idle_is_replaced_before_somebody_needs_it(
    model: SpeechModel, speech: AudioChunk, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    dead = pids(part)
    for pid in dead:
        os.kill(pid, signal.SIGKILL)
    await until(lambda: len(pids(part) - dead) == len(dead), "all are replaced")
    assert "its process ended with code -9" in caplog.text
    assert said(await collect(model, Prompt(speech)))
    await until(lambda: Watched(model).trouble == "", "each of them has read its weights")


@needs_weights
@together
async def test_a_language_model_that_hangs_is_replaced_and_the_turn_is_answered(
    model: SpeechModel, speech: AudioChunk, caplog: pytest.LogCaptureFixture
) -> None:
    [hung] = pids(THINKS)
    os.kill(hung, signal.SIGSTOP)
    with short(language, "_PATIENCE"):
        replies = await asyncio.gather(*(collect(model, Prompt(speech)) for _ in range(2)))
    assert all(map(said, replies))
    assert "the language model hung: it gave nothing for 3 s" in caplog.text
    assert hung not in pids(THINKS)


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, before[1]))
    spare = []
    try:
        while True:
            spare.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for number in spare:
            os.close(number)


@needs_weights
@together
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors by /proc")
async def test_a_server_without_descriptors_blames_and_kills_no_healthy_child(
    model: SpeechModel, speech: AudioChunk
) -> None:
    [healthy] = pids(THINKS)
    reply = model.reply(Prompt(speech))
    await anext(reply)  # what was heard
    with no_descriptor_left(), pytest.raises(ModelFailed, match=r"has no room .* open files"):
        await anext(reply)
    assert said(await collect(model, Prompt(speech)))
    assert pids(THINKS) == {healthy}


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> str:
    tests = str(Path(__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")]))
    return "attacks.odd_child"


@needs_weights
async def test_a_recogniser_that_hangs_twice_fails_the_reply(
    odd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deaf(_: object) -> Child:
        started.append(await Child.start("recogniser", odd, "deaf"))
        return started[-1]

    started: list[Child] = []
    monkeypatch.setattr(Whisper, "_start_child", deaf)
    monkeypatch.setattr(whisper, "_LIMIT", 0.2)
    ears = Whisper()
    await ears.start()
    with pytest.raises(
        ModelFailed, match=r"the recogniser hung: it gave nothing for 0\.7 s or more"
    ):
        await ears.recognise(tone(1.0))
    assert len(started) >= 2
    assert not any(child.alive for child in started[:2])
    await ears.close()
    assert not any(child.alive for child in started)


async def test_what_keeps_a_child_from_starting_again_is_known_until_it_does(
    odd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def start() -> Child:
        if hindered:
            raise ModelUnavailable("the part could not start: no more processes")
        return await Child.start("part", odd, "deaf")

    hindered = False
    monkeypatch.setattr(child_module, "_AGAIN", 0.05)
    kept = Kept("part", start)
    await kept.start()
    hindered = True
    [process] = children("odd_child")
    process.kill()
    await until(lambda: "no more processes" in kept.trouble, "its trouble is known")
    hindered = False
    await until(lambda: not kept.trouble, "its trouble is over")
    assert (await kept.ready()).alive
    await kept.close()
    assert children("odd_child") == []


async def test_a_limit_of_the_machine_is_told_as_one(odd: str) -> None:
    with pytest.raises(ModelUnavailable, match=r"could not start: .*Resource temporarily unavail"):
        await Child.start("part", odd, "short of threads")


def test_what_a_model_says_of_its_trouble_is_passed_on() -> None:
    model = ScriptedModel()
    assert Watched(model).trouble == ""
    model.trouble = "the recogniser is being started again"  # type: ignore[attr-defined]
    assert Watched(model).trouble == "the recogniser is being started again"


def serve_cascade(folder: Path) -> "subprocess.Popen[str]":
    """A server in a process group of its own, as a service is."""
    return subprocess.Popen(
        [sys.executable, "-m", "duologue", "serve", "--model=cascade", "--port=0", "--no-page"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(folder), "DUOLOGUE_DATA": str(folder)},
    )


@needs_weights
@pytest.mark.skipif(sys.platform == "win32", reason="there are no process groups there")
def test_a_service_that_is_stopped_with_all_its_processes_ends_without_a_word(
    tmp_path: Path,
) -> None:
    server = serve_cascade(tmp_path)
    try:
        assert server.stdout
        assert re.search(r"http://\S+", server.stdout.readline())
        os.killpg(server.pid, signal.SIGTERM)
        _, log = server.communicate(timeout=120)
    finally:
        server.kill()
    assert (server.returncode, "WARNING" in log) == (0, False), log


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a child that its parent is dead")
def test_stopped_children_end_when_the_server_is_killed(tmp_path: Path) -> None:
    server = serve_cascade(tmp_path)
    processes: list[psutil.Process] = []
    try:
        assert server.stdout
        assert re.search(r"http://\S+", server.stdout.readline())
        processes = psutil.Process(server.pid).children(recursive=True)
        assert len(processes) == 3
        for process in processes:
            process.suspend()
        server.kill()
        server.communicate(timeout=60)
        asyncio.run(until(lambda: not any(map(runs, processes)), "all children have ended"))
    finally:
        server.kill()
        for process in filter(runs, processes):
            process.kill()


def runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
