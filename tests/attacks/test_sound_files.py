"""Sound files that were made to hurt: the server goes on, and so does everybody else's session."""

import asyncio
import base64
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from openai import AsyncOpenAI

from duologue.testing import tone
from made_files import KINDS, contained, file, repacked

MUTANTS = 12  # of each kind


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a server in a process of its own."""
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("served.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        yield process.stdout.readline().strip()
        process.stdin.close()
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
