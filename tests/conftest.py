"""What many tests need: a server that really serves, and real speech."""

import asyncio
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from duologue import weights
from duologue.audio import INPUT_RATE, AudioChunk
from duologue.audio.files import read_audio
from duologue.models import Ear, SpeechModel, load_model
from duologue.models.mini_omni.checkpoint import Checkpoint, open_checkpoint
from duologue.server.app import Uvicorn, running
from duologue.server.config import Config, load_config
from duologue.session.session import EndOfTurn
from duologue.testing import LoudnessVad
from duologue.turns.detector import Vad

# Recordings and golden arrays that are too large for the checkout, where they stand beside it.
SHARED = Path(__file__).parents[2] / "shared"

# A busy machine is no failure, however long an example takes there.
hypothesis.settings.register_profile(
    "busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("busy")

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a byte differs": lambda file: file[:-1] + bytes([file[-1] ^ 1]),
    "64 bytes differ": lambda file: file[:9999] + bytes(64) + file[10_063:],
    "the end is missing": lambda file: file[:-1000],
    "it is text": lambda file: (b"no network " * len(file))[: len(file)],
}

Serve = Callable[..., Uvicorn]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "shared: needs ../shared beside the checkout")
    config.addinivalue_line("markers", "recorded: asks recorded questions where ../shared is")


# Before pytest deselects by `-m`.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what asks for the fixture `shared`, and skip what is marked where there is no ../shared."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "shared" in fixtures:
            item.add_marker("shared")
        if "questions" in fixtures:
            item.add_marker("recorded")
        if item.get_closest_marker("shared") and not SHARED.is_dir():
            item.add_marker(pytest.mark.skip("../shared is not here"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that is skipped for want of ../shared and that `-m shared` would not choose."""
    report = yield
    if (
        report.skipped
        and "shared" in str(report.longrepr)
        and not item.get_closest_marker("shared")
    ):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} needs ../shared: let it ask for the fixture `shared`."
    return report


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder ../shared; a test that asks for it is marked, and skipped where there is none."""
    return SHARED


@pytest.fixture(scope="session", autouse=True)
def _data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test, and no program that it starts, keeps figures of turns in the user's own folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DUOLOGUE_DATA", raising=False)
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


def put_damaged(name: str, folder: Path, damage: str = "64 bytes differ") -> Path:
    """Put a damaged copy of the weights called `name` into a folder, which is to be the cache."""
    here = weights.cache_folder() / weights.WEIGHTS[name].file_name
    if not here.is_file():
        pytest.skip(f"needs the weights; run: duologue pull {name}")
    path = folder / here.name
    path.write_bytes(DAMAGES[damage](here.read_bytes()))
    return path


@contextmanager
def serving(
    config: Config,
    model: SpeechModel | None = None,
    vad: Callable[[], Vad] = LoudnessVad,
    end_of_turn: EndOfTurn | None = None,
    ear: Ear | None = None,
) -> Iterator[Uvicorn]:
    """A server on a free port, in a thread with a loop of its own."""
    started: list[Uvicorn] = []
    ready = threading.Event()

    async def run() -> None:
        async with running(
            config, model or load_model(config.model), vad, end_of_turn, ear
        ) as server:
            started.append(server)
            ready.set()
            await server.run_until_stopped()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        assert ready.wait(120)
        yield started[0]
    finally:
        if started:
            started[0].should_exit = True
        thread.join()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Call it to start a server without a page: `serve(model, sessions=2)`."""
    open_servers = []

    def start(model: SpeechModel | None = None, **flags: object) -> Uvicorn:
        config = load_config({"model": "echo", "port": 0, "page": False, **flags}, environ={})
        server = serving(config, model)
        open_servers.append(server)
        return server.__enter__()

    yield start
    for server in open_servers:
        server.__exit__(None, None, None)


@pytest.fixture(scope="session")
def mini_omni_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with Mini-Omni in small and random: the real format and the real parts."""
    pytest.importorskip("torch")
    # Not above: they take torch.
    from duologue.models.mini_omni.convert import convert
    from tiny_mini_omni import LANGUAGE_MODEL, original

    folder = tmp_path_factory.mktemp("cache")
    files = original(folder / "original", replace(LANGUAGE_MODEL, positions=2048))
    convert(files, folder / "mini-omni-random")
    return folder


@pytest.fixture(scope="session")
def tiny(mini_omni_cache: Path) -> Checkpoint:
    """Mini-Omni in small, and random."""
    return open_checkpoint(mini_omni_cache / "mini-omni-random")


@pytest.fixture(params=range(1, 6))
def question(request: pytest.FixtureRequest, shared: Path) -> AudioChunk:
    """A recorded question, at `INPUT_RATE`."""
    return read_audio(shared / f"audio/question{request.param}.wav").at(INPUT_RATE)


@pytest.fixture(scope="session")
def questions() -> list[AudioChunk]:
    """Three of them: recorded where the recordings are, synthesised where not."""
    paths = [SHARED / f"audio/question{number}.wav" for number in (1, 3, 4)]
    if all(path.is_file() for path in paths):
        return [read_audio(path) for path in paths]
    # Not above: it takes what the cascade takes.
    from models.cascade.rig import spoken

    words = ("What is your name?", "Do you like Beijing?", "How are you feeling today?")
    return [_in_a_room(asyncio.run(spoken(sentence, around=0.0))) for sentence in words]


def _in_a_room(sound: AudioChunk) -> AudioChunk:
    """With the faint noise of any room: inside its words espeak-ng has zeros, which look like holes."""
    noise = np.random.default_rng(0).normal(0, 3e-4, len(sound.samples)).astype(np.float32)
    return AudioChunk(sound.samples + noise, sound.rate)
