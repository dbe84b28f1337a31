"""Sound files that were made to hurt: the server goes on, and so does everybody else's session."""

import asyncio
import base64
import contextlib
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from openai import AsyncOpenAI

from conftest import Serve
from duologue.audio import to_wav
from duologue.testing import tone
from made_files import KINDS, contained, file, repacked

TESTS = str(Path(__file__).parents[1])

MUTANTS = 12  # of each kind


@contextmanager
def serving_elsewhere() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The URL of a server in a process of its own, and the process."""
    # Of the tests' folder only pytest knows.
    paths = [TESTS, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    with subprocess.Popen(
        [sys.executable, "-m", "attacks.served"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        yield process.stdout.readline().strip(), process
        process.stdin.close()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a server that outlives the attacks."""
    with serving_elsewhere() as (url, process):
        yield url
    assert process.returncode == 0, "it lived to be stopped"


async def post(client: httpx.AsyncClient, url: str, data: bytes) -> httpx.Response:
    audio = base64.b64encode(data).decode()
    return await client.post(url + "/chat", json={"audio": audio}, timeout=120)


@asynccontextmanager
async def somebody_talking(url: str) -> AsyncIterator[list[str]]:
    """A session that asks and is answered all the while; how each reply ended."""
    ends: list[str] = []
    client = AsyncOpenAI(api_key="any", websocket_base_url=url.replace("http", "ws") + "/v1")
    sound = base64.b64encode(tone(0.2, 24_000).pcm16()).decode()

    async def talk() -> None:
        async with client.realtime.connect(model="any") as connection:
            await connection.session.update(
                session={"type": "realtime", "audio": {"input": {"turn_detection": None}}}
            )
            while True:
                await connection.input_audio_buffer.append(audio=sound)
                await connection.input_audio_buffer.commit()
                await connection.response.create()
                async for event in connection:
                    if event.type == "response.done":
                        ends.append(str(event.response.status))
                        break

    talking = asyncio.create_task(talk())
    try:
        yield ends
        before = len(ends)
        while len(ends) < before + 2 and not talking.done():
            await asyncio.sleep(0.02)
    finally:
        talking.cancel()
        await asyncio.wait([talking])
    assert talking.cancelled(), talking.exception()
    assert set(ends) == {"completed"}


async def test_eight_channels_in_a_container_are_a_question_like_any_other(server: str) -> None:
    sound = tone(0.02, 48_000)
    flac = repacked(file(sound, "FLAC", channels=8), "matroska")
    async with httpx.AsyncClient() as client, somebody_talking(server):
        for data in (flac, contained(sound, "mov", "pcm_s16le", layout="7.1")):
            assert (await post(client, server, data)).status_code == 200
        too_many = contained(sound, "mov", "pcm_s16le", layout="hexadecagonal")
        refused = await post(client, server, too_many)
        assert refused.status_code == 400
        assert "16 channels" in refused.text


def vorbis_of_255_channels(path: Path) -> bytes:
    # Not here: libsndfile dies of writing some of these.
    program = f"""if True:
        import numpy, soundfile
        with soundfile.SoundFile({str(path)!r}, "w", 192_000, 255, format="OGG") as file:
            file.write(numpy.full((10_000, 255), 0.1))
        """
    if subprocess.run([sys.executable, "-c", program], capture_output=True).returncode:
        pytest.skip("libsndfile cannot write it here")
    return path.read_bytes()


async def test_vorbis_of_255_channels_is_refused(server: str, tmp_path: Path) -> None:
    data = await asyncio.to_thread(vorbis_of_255_channels, tmp_path / "a.ogg")
    async with httpx.AsyncClient() as client:
        response = await post(client, server, data)
        assert response.status_code == 400
        assert "255 channels" in response.text


async def test_nothing_is_left_of_a_server_that_is_killed() -> None:
    with serving_elsewhere() as (url, process):
        async with httpx.AsyncClient() as client:
            for _ in range(2):
                await post(client, url, KINDS["flac"](0.2))
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        assert children
        _, alive = psutil.wait_procs(children, 60)
        assert alive == []


@pytest.fixture
def hurt(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a server whose "files" are words: what they do to the process that reads them."""
    monkeypatch.setattr("duologue.audio.files._CHILD", "attacks.hurt_child")
    # Or on a busy machine what never ends is ended by the clock first, and that is the machine's fault.
    monkeypatch.setattr("duologue.audio.files._SLACK", 100)
    monkeypatch.setenv("PYTHONPATH", TESTS, prepend=os.pathsep)
    return serve(chats=2).url


def under_way() -> list[psutil.Process]:
    """Processes that decode."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended in the meantime
            if "attacks.hurt_child" in child.cmdline():
                found.append(child)
    return found


@pytest.mark.parametrize(
    ("does", "status", "code"),
    [
        (b"crash", 400, "invalid_audio"),
        (b"work for ever", 400, "invalid_audio"),
        (b"be ended", 503, "reader_unavailable"),
    ],
)
async def test_what_breaks_the_decoder_is_refused_and_the_next_question_answered(
    hurt: str, does: bytes, status: int, code: str
) -> None:
    async with httpx.AsyncClient() as client, somebody_talking(hurt):
        refused = await post(client, hurt, does)
        assert refused.status_code == status
        assert refused.json()["error"]["code"] == code
        assert (await post(client, hurt, b"be good")).status_code == 200


async def test_files_that_hang_hold_up_neither_other_questions_nor_sessions(hurt: str) -> None:
    async with httpx.AsyncClient() as client, somebody_talking(hurt):
        before = len(under_way())
        hanging = [asyncio.create_task(post(client, hurt, b"hang")) for _ in range(8)]
        while len(under_way()) < before + 2:
            await asyncio.sleep(0.05)
        assert (await post(client, hurt, to_wav(tone(0.2)))).status_code == 200
        assert not any(task.done() for task in hanging)
        for task in hanging:
            task.cancel()
        await asyncio.wait(hanging)


def mutants(data: bytes, chance: random.Random) -> Iterator[bytes]:
    """Damaged copies: other bytes, a missing end, numbers that lie, parts twice or gone."""
    for _ in range(MUTANTS):
        copy = bytearray(data)
        match chance.randrange(5):
            case 0:
                for _ in range(chance.randint(1, 20)):
                    copy[chance.randrange(len(copy))] = chance.randrange(256)
            case 1:
                del copy[chance.randrange(len(copy)) :]
            case 2:  # in the head, where sizes and numbers of channels are
                at = chance.randrange(min(len(copy), 200))
                lie = chance.choice(
                    [b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"]
                )
                copy[at : at + 4] = lie
            case 3:
                start = chance.randrange(len(copy))
                copy[start:start] = copy[start : start + chance.randrange(2_000)]
            case _:
                start = chance.randrange(len(copy))
                del copy[start : start + chance.randrange(2_000)]
        yield bytes(copy)


async def test_damaged_files_of_thirty_kinds_are_answered_or_refused(server: str) -> None:
    chance = random.Random(9)
    async with httpx.AsyncClient() as client, somebody_talking(server):
        for kind, make in KINDS.items():
            data = make(0.2)
            assert (await post(client, server, data)).status_code == 200, kind
            for number, mutant in enumerate(mutants(data, chance)):
                response = await post(client, server, mutant)
                assert response.status_code in (200, 400, 413), (kind, number, response.text)
