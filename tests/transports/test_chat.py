"""`POST /chat` over HTTP, as clients of the original Mini-Omni server speak to it."""

import asyncio
import base64
import io
import json
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import httpx
import numpy as np
import pytest
import soundfile

from conftest import Serve
from duologue.audio import REPLY_RATE, AudioChunk, from_pcm16, read_audio, silence, to_wav
from duologue.engine import Engine
from duologue.errors import ModelFailed
from duologue.model import Capabilities, Prompt, ReplyChunk
from duologue.server import Uvicorn
from duologue.testing import ScriptedModel, say, tone

FRAME = 2048  # samples of the original's frame


def encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


QUESTION = encode(to_wav(tone(1)))


def ask(server: Uvicorn, accept: str = "*/*", **fields: Any) -> httpx.Response:
    """As `requests.post(url, json=...)` asks."""
    body = {"audio": QUESTION, **fields}
    return httpx.post(server.url + "/chat", json=body, headers={"accept": accept}, timeout=30)


def error(response: httpx.Response) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/json"
    fields = response.json()["error"]
    assert set(fields) == {"message", "type", "code", "param"}
    assert isinstance(fields, dict)
    return fields


def under_way(server: Uvicorn) -> int:
    chats = httpx.get(server.url + "/health").json()["chats"]
    assert isinstance(chats, int)
    return chats


def wait_for(what: Callable[[], bool]) -> None:
    for _ in range(250):
        if what():
            return
        time.sleep(0.02)
    pytest.fail("it never came to that")


@asynccontextmanager
async def asking(
    server: Uvicorn, accept: str = "*/*", **fields: Any
) -> AsyncIterator[httpx.Response]:
    """The response as soon as its head is there."""
    async with (
        httpx.AsyncClient(timeout=30) as client,
        client.stream(
            "POST",
            server.url + "/chat",
            json={"audio": QUESTION, **fields},
            headers={"accept": accept},
        ) as response,
    ):
        yield response


class Gate(asyncio.Semaphore):
    """Lets a scripted model, whose loop is another thread's, say one thing more."""

    loop: asyncio.AbstractEventLoop | None = None

    async def acquire(self) -> Literal[True]:
        self.loop = asyncio.get_running_loop()
        return await super().acquire()

    def open(self) -> None:
        wait_for(lambda: self.loop is not None)
        assert self.loop
        self.loop.call_soon_threadsafe(self.release)


# What comes back.


def test_a_client_of_the_original_server_gets_headerless_pcm(serve: Serve) -> None:
    response = ask(serve(), stream_stride=4, max_tokens=2048)
    assert response.status_code == 200
    assert response.headers["content-type"] == "audio/pcm;rate=24000;channels=1"
    assert "content-length" not in response.headers
    sound = from_pcm16(response.content, REPLY_RATE)
    assert sound.duration == pytest.approx(1, abs=0.01)
    assert np.abs(sound.samples).max() == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("accept", ["audio/wav", "text/html, audio/x-wav;q=0.9", "AUDIO/WAV"])
def test_a_client_that_accepts_wav_gets_a_wav_file(serve: Serve, accept: str) -> None:
    response = ask(serve(), accept)
    assert response.headers["content-type"] == "audio/wav"
    samples, rate = soundfile.read(io.BytesIO(response.content))
    assert (rate, samples.ndim) == (REPLY_RATE, 1)
    assert len(samples) / rate == pytest.approx(1, abs=0.01)
    assert read_audio(response.content).duration == pytest.approx(1, abs=0.01)


def test_a_client_that_accepts_mpeg_gets_an_mp3_file(serve: Serve) -> None:
    response = ask(serve(), "audio/mpeg, audio/wav")
    assert response.headers["content-type"] == "audio/mpeg"
    sound = read_audio(response.content)
    assert sound.rate == REPLY_RATE
    assert sound.duration == pytest.approx(1, abs=0.15)
    assert np.abs(sound.samples).max() == pytest.approx(0.3, abs=0.05)
    assert len(response.content) == pytest.approx(8_000, rel=0.2)


@pytest.mark.parametrize("accept", ["*/*", "audio/wav", "audio/mpeg"])
async def test_the_first_sound_comes_before_the_reply_is_complete(
    serve: Serve, accept: str
) -> None:
    gate = Gate(0)
    model = ScriptedModel([say("One", FRAME / REPLY_RATE), say("two")], gate=gate)
    server = serve(model)
    asked = asyncio.create_task(anext_piece(server, accept, gate))
    await asyncio.to_thread(wait_for, lambda: len(model.prompts) == 1)
    assert not asked.done(), "there is no head before there is sound"
    gate.open()
    first, rest = await asyncio.wait_for(asked, 10)
    assert first
    assert rest > len(first)


async def anext_piece(server: Uvicorn, accept: str, gate: Gate) -> tuple[bytes, int]:
    """The first piece of a body, while the gate is closed; then how long the rest is."""
    async with asking(server, accept) as response:
        pieces = response.aiter_raw()
        first = await anext(pieces)
        gate.open()
        return first, sum([len(piece) async for piece in pieces])


def test_a_reply_is_cut_after_max_tokens_frames(serve: Serve) -> None:
    model = ScriptedModel([say("La.")] * 5)
    assert len(ask(serve(model), max_tokens=13).content) == 13 * FRAME * 2
    assert model.abandoned == 1


def test_no_write_holds_more_than_stream_stride_frames(serve: Serve) -> None:
    server = serve(ScriptedModel([say("La.", 5 * FRAME / REPLY_RATE)]))
    for stride, sizes in ((2, [2, 2, 1]), (2048, [5])):
        assert chunks_on_the_wire(server, stride) == [frames * FRAME * 2 for frames in sizes]


def chunks_on_the_wire(server: Uvicorn, stride: int) -> list[int]:
    body = json.dumps({"audio": QUESTION, "stream_stride": stride})
    address = httpx.URL(server.url)
    with socket.create_connection((address.host, address.port or 80)) as line:
        head = "POST /chat HTTP/1.1\r\nHost: here\r\nConnection: close\r\n"
        kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        line.sendall((head + kind + body).encode())
        with line.makefile("rb") as answer:
            while answer.readline() != b"\r\n":
                pass
            sizes = []
            while size := int(answer.readline(), 16):
                sizes.append(len(answer.read(size)))
                answer.readline()
    return sizes


def test_a_reply_without_sound_is_an_empty_file(serve: Serve) -> None:
    server = serve(ScriptedModel([ReplyChunk(text="Hm."), ReplyChunk(silence(0, REPLY_RATE))]))
    assert (ask(server).status_code, ask(server).content) == (200, b"")
    assert len(ask(server, "audio/wav").content) == 44


def test_nothing_of_a_chat_is_remembered(serve: Serve) -> None:
    model = ScriptedModel([say("Fine.")])
    server = serve(model)
    for _ in range(2):
        ask(server)
    assert [list(prompt.turns) for prompt in model.prompts] == [[], []]


# What goes in.


def file(chunk: AudioChunk, kind: str, subtype: str | None = None, channels: int = 1) -> bytes:
    data = io.BytesIO()
    samples = np.stack([chunk.samples] * channels, axis=1)
    soundfile.write(data, samples, chunk.rate, format=kind, subtype=subtype)
    return data.getvalue()


@pytest.mark.parametrize(
    ("data", "seconds"),
    [
        (file(tone(1, 8_000), "WAV"), 1),
        (file(tone(1, 48_000), "WAV", channels=2), 1),
        (file(tone(1, 16_000), "WAV", "FLOAT"), 1),
        (file(tone(1, 44_100), "FLAC"), 1),
        (file(tone(1, 16_000), "OGG"), 1),
        (file(tone(1, 16_000), "MP3"), 1),
        (file(tone(0.01, 16_000), "WAV"), 0.01),
        (file(silence(1, 16_000), "WAV"), 1),
        (file(tone(30, 8_000), "WAV"), 30),
    ],
    ids=["8 kHz", "48 kHz stereo", "float", "flac", "ogg", "mp3", "10 ms", "silence", "30 s"],
)
def test_a_sound_of_any_usual_kind_is_answered(serve: Serve, data: bytes, seconds: float) -> None:
    response = ask(serve(), audio=encode(data))
    assert response.status_code == 200
    said = from_pcm16(response.content, REPLY_RATE).duration
    assert said == pytest.approx(seconds, abs=0.1 if seconds >= 1 else 0.005)


def test_base64_may_be_wrapped_into_lines(serve: Serve) -> None:
    wrapped = base64.encodebytes(to_wav(tone(1))).decode()
    assert ask(serve(), audio=wrapped).status_code == 200


def test_a_question_of_many_pieces_of_base64_arrives_whole(serve: Serve) -> None:
    sound = AudioChunk(np.random.default_rng(0).uniform(-1, 1, 20 * 24_000).astype("f4"), 24_000)
    model = ScriptedModel([say("Noise.")])
    ask(serve(model), audio=encode(to_wav(sound)))
    heard = model.prompts[0].utterance
    assert np.abs(heard.samples - sound.at(16_000).samples).max() < 1e-3


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"audio": None}, "audio", "base64 of a sound file, not null"),
        ({"audio": ["x"]}, "audio", "not an array"),
        ({"audio": "QUJD*"}, "audio", "not valid base64"),
        ({"audio": "QUJ"}, "audio", "not valid base64"),
        ({"audio": "QQ==QUJD"}, "audio", "padding in the middle"),
        ({"audio": "\ud800"}, "audio", "not valid base64"),
        ({"audio": ""}, "audio", "no sound file"),
        ({"audio": encode(b"#EXTM3U\nhttp://127.0.0.1/secret.wav\n")}, "audio", "no sound file"),
        ({"audio": encode(file(silence(0, 16_000), "WAV"))}, "audio", "0 samples"),
        (
            {"audio": encode(file(AudioChunk(np.array([0.1, np.nan], "f4"), 16_000), "WAV", "FLOAT"))},
            "audio",
            "not numbers",
        ),
        ({"max_tokens": 0}, "max_tokens", "from 1 to 2048, not 0"),
        ({"max_tokens": -1}, "max_tokens", "not -1"),
        ({"max_tokens": 2049}, "max_tokens", "not 2049"),
        ({"max_tokens": "4"}, "max_tokens", "not a string"),
        ({"max_tokens": True}, "max_tokens", "not true"),
        ({"max_tokens": 4.0}, "max_tokens", "not 4.0"),
        ({"max_tokens": None}, "max_tokens", "not null"),
        ({"stream_stride": 0}, "stream_stride", "not 0"),
        ({"stream_stride": -4}, "stream_stride", "not -4"),
        ({"stream_stride": {"a": 1}}, "stream_stride", "not an object"),
    ],
)  # fmt: skip
def test_a_field_that_is_wrong_is_named_with_the_reason(
    serve: Serve, fields: dict[str, Any], param: str, message: str
) -> None:
    # By hand: httpx does not send what is no Unicode.
    body = json.dumps({"audio": QUESTION, **fields})
    response = post(serve(), body.encode())
    assert response.status_code == 400
    reason = error(response)
    assert reason["param"] == param
    assert reason["type"] == "invalid_request_error"
    assert message in reason["message"]


def post(server: Uvicorn, body: bytes | Iterable[bytes], **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named.setdefault("content-type", "application/json; charset=utf-8")
    return httpx.post(server.url + "/chat", content=body, headers=named, timeout=30)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"x"', b"\xff\xfe\xff", b"[" * 100_000, b'{"max_tokens": ' + b"9" * 5000],
    ids=["nothing", "half", "an array", "a string", "no text", "a deep one", "a large number"],
)
def test_a_body_that_is_no_json_object_is_refused(serve: Serve, body: bytes) -> None:
    response = post(serve(), body)
    assert response.status_code == 400
    assert error(response)["code"] == "invalid_request"


def test_a_body_that_is_not_labelled_as_json_is_refused(serve: Serve) -> None:
    response = post(serve(), b"{}", content_type="text/plain")
    assert response.status_code == 415
    assert error(response)["code"] == "unsupported_media_type"


@pytest.mark.parametrize("seconds", [31, 300])
def test_an_utterance_that_is_too_long_is_refused_and_not_cut(serve: Serve, seconds: int) -> None:
    response = ask(serve(), audio=encode(file(tone(seconds, 16_000), "WAV")))
    assert response.status_code == 413
    reason = error(response)
    assert reason["code"] == "audio_too_long"
    assert "more than 30 s of sound" in reason["message"]


def test_the_limit_of_an_utterance_is_that_of_the_server(serve: Serve) -> None:
    sound = encode(file(tone(31, 8_000), "WAV"))
    assert ask(serve(time_limit=40), audio=sound).status_code == 200


def test_a_request_that_is_too_big_is_refused_before_it_has_come(serve: Serve) -> None:
    server = serve(message_bytes=10_000)
    for body in (b" " * 10_001, iter([b" " * 6_000] * 3)):
        response = post(server, body)
        assert response.status_code == 413
        assert error(response)["code"] == "message_too_big"
    assert under_way(server) == 0
    address = httpx.URL(server.url)
    with socket.create_connection((address.host, address.port or 80)) as line:
        line.sendall(
            b"POST /chat HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
            b"Content-Length: 99999999999\r\n\r\n"
        )
        assert line.recv(100).startswith(b"HTTP/1.1 413 ")


def test_only_post_is_answered(serve: Serve) -> None:
    assert httpx.get(serve().url + "/chat").status_code == 405


# Who may.


def test_a_page_of_another_origin_is_refused(serve: Serve) -> None:
    server = serve()
    body = json.dumps({"audio": QUESTION}).encode()
    response = post(server, body, origin="https://evil.example")
    assert response.status_code == 403
    assert error(response)["code"] == "origin_not_allowed"
    ours = post(server, body, origin=server.url)
    assert ours.status_code == 200
    assert not [name for name in ours.headers if name.startswith("access-control")]


def test_the_api_key_is_asked_for_where_there_is_one(serve: Serve) -> None:
    server = serve(api_key="open-sesame")
    body = json.dumps({"audio": QUESTION}).encode()
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "open-sesame"}):
        response = post(server, body, **headers)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert error(response)["code"] == "invalid_api_key"
        assert "sesame" not in response.text
    assert post(server, body, origin=server.url).status_code == 401
    assert post(server, body, authorization="Bearer open-sesame").status_code == 200


# Many at once, and those who leave.


async def test_one_more_than_there_are_places_is_told_to_come_back(serve: Serve) -> None:
    gate = Gate(0)
    server = serve(ScriptedModel([say("Yes.")], gate=gate), chats=1)
    first = asyncio.create_task(asyncio.to_thread(ask, server))
    await asyncio.to_thread(wait_for, lambda: under_way(server) == 1)
    second = await asyncio.to_thread(ask, server)
    assert second.status_code == 503
    assert int(second.headers["retry-after"]) > 0
    assert error(second)["code"] == "too_many_replies"
    gate.open()
    assert (await first).status_code == 200
    assert under_way(server) == 0


class SlowNetwork:
    """Says three frames of the level it heard, to at most two at once."""

    capabilities = Capabilities(history=False, instructions=False, transcribes=False, note="Slow.")
    slots = 2

    def __init__(self) -> None:
        self.left: dict[int, int] = {}
        self.levels: dict[int, float] = {}
        self.largest_batch = 0

    def start(self) -> None: ...

    def close(self) -> None: ...

    def admit(self, slot: int, prompt: Prompt) -> None:
        self.left[slot] = 3
        self.levels[slot] = float(np.abs(prompt.utterance.samples).max())

    def step(self, slots: Sequence[int]) -> Sequence[ReplyChunk | None]:
        time.sleep(0.01)
        self.largest_batch = max(self.largest_batch, len(slots))
        return [self._frame(slot) for slot in slots]

    def evict(self, slot: int) -> None:
        del self.left[slot]

    def _frame(self, slot: int) -> ReplyChunk | None:
        self.left[slot] -= 1
        if self.left[slot] < 0:
            return None
        samples = np.full(FRAME, self.levels[slot], np.float32)
        return ReplyChunk(AudioChunk(samples, REPLY_RATE))


@pytest.mark.parametrize("places", [20, 5])
async def test_ten_requests_to_two_slots_are_answered_in_batches_or_refused(
    serve: Serve, places: int
) -> None:
    network = SlowNetwork()
    engine = Engine(network)
    server = serve(engine, chats=places)

    async def one(level: float) -> int:
        question = encode(to_wav(tone(0.5, 16_000, level)))
        response = await asyncio.to_thread(ask, server, audio=question)
        if response.status_code == 200:
            samples = from_pcm16(response.content, REPLY_RATE).samples
            assert len(samples) == 3 * FRAME
            assert np.abs(samples - level).max() < 0.01, "everybody gets their own reply"
        else:
            assert error(response)["code"] == "too_many_replies"
        return response.status_code

    statuses = await asyncio.gather(*(one(level / 20) for level in range(1, 11)))
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= min(places, 10)
    assert network.largest_batch == 2
    await asyncio.to_thread(wait_for, lambda: engine.free_slots == 2)
    assert network.left == {}
    assert under_way(server) == 0


@pytest.mark.parametrize("accept", ["*/*", "audio/mpeg"])
async def test_a_client_that_leaves_after_one_chunk_frees_its_place(
    serve: Serve, accept: str
) -> None:
    gate = Gate(1)
    model = ScriptedModel([say("One."), say("Two.")], gate=gate)
    server = serve(model)
    async with asking(server, accept) as response:
        await anext(response.aiter_raw())
    await asyncio.to_thread(wait_for, lambda: model.abandoned == 1)
    await asyncio.to_thread(wait_for, lambda: under_way(server) == 0)


async def test_a_client_that_leaves_while_the_model_thinks_frees_its_place(serve: Serve) -> None:
    model = ScriptedModel([say("One.")], gate=Gate(0))
    server = serve(model)
    asked = asyncio.create_task(anext_piece(server, "*/*", Gate(0)))
    await asyncio.to_thread(wait_for, lambda: len(model.prompts) == 1)
    asked.cancel()
    await asyncio.wait([asked])
    await asyncio.to_thread(wait_for, lambda: model.abandoned == 1)
    assert under_way(server) == 0


async def test_a_client_that_leaves_a_batch_frees_its_slot(serve: Serve) -> None:
    network = SlowNetwork()
    engine = Engine(network)
    server = serve(engine)
    async with asking(server) as response:
        await anext(response.aiter_raw())
    await asyncio.to_thread(wait_for, lambda: engine.free_slots == 2)
    assert network.left == {}
    assert (await asyncio.to_thread(ask, server)).status_code == 200


async def test_a_client_that_leaves_an_echo_frees_its_place(serve: Serve) -> None:
    server = serve()
    async with asking(server, audio=encode(file(tone(30, 8_000), "WAV"))) as response:
        await anext(response.aiter_raw())
    await asyncio.to_thread(wait_for, lambda: under_way(server) == 0)


def test_a_client_that_leaves_in_the_middle_of_its_question_frees_its_place(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve()
    address = httpx.URL(server.url)
    with socket.create_connection((address.host, address.port or 80)) as line:
        line.sendall(
            b"POST /chat HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
            b'Content-Length: 1000\r\n\r\n{"audio": "'
        )
        wait_for(lambda: under_way(server) == 1)
    wait_for(lambda: under_way(server) == 0)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize(
    "slow", ["the question", "the reply"], ids=["sends no more", "reads no more"]
)
def test_a_client_that_is_too_slow_is_let_go(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    monkeypatch.setattr("duologue.transports.chat._PATIENCE", 0.3)
    server = serve(ScriptedModel([say("La.", 10.0)] * 17))
    body = json.dumps({"audio": QUESTION}).encode()
    address = httpx.URL(server.url)
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect((address.host, address.port))
        line.sendall(
            b"POST /chat HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + (body if slow == "the reply" else body[:9])
        )
        wait_for(lambda: under_way(server) == 1)
        wait_for(lambda: under_way(server) == 0)
        if slow == "the question":
            assert line.recv(100).startswith(b"HTTP/1.1 408 ")


# What breaks down, and the end.


@pytest.mark.parametrize("failure", [ModelFailed("it is tired"), ValueError("it is tired")])
def test_a_failure_before_the_first_sound_is_told(
    serve: Serve, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    response = ask(serve(ScriptedModel([failure])))
    assert response.status_code == 500
    reason = error(response)
    assert (reason["code"], reason["type"]) == ("model_failed", "server_error")
    assert "it is tired" in reason["message"]
    assert sum(record.levelno >= logging.ERROR for record in caplog.records) == 1


@pytest.mark.parametrize("failure", [ModelFailed("it is tired"), ValueError("it is tired")])
def test_a_failure_after_the_first_sound_cuts_the_connection(
    serve: Serve, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(ScriptedModel([say("One."), failure]))
    with pytest.raises(httpx.RemoteProtocolError):
        ask(server)
    wait_for(lambda: under_way(server) == 0)
    logged = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(logged) == 1
    assert "it is tired" in str(logged[0].exc_info)


async def test_a_server_that_is_stopped_ends_its_replies_and_takes_no_new_ones(
    serve: Serve,
) -> None:
    gate = Gate(0)
    server = serve(ScriptedModel([say("One."), say("Two.")], gate=gate), grace=20)
    asked = asyncio.create_task(anext_piece(server, "*/*", gate))
    await asyncio.to_thread(wait_for, lambda: under_way(server) == 1)
    server.should_exit = True
    await asyncio.to_thread(
        wait_for, lambda: httpx.get(server.url + "/health").json()["status"] == "draining"
    )
    refused = await asyncio.to_thread(ask, server)
    assert refused.status_code == 503
    assert error(refused)["code"] == "server_shutting_down"
    gate.open()
    first, rest = await asked
    assert len(first) + rest == 2 * 2 * REPLY_RATE


async def test_a_long_question_holds_nobody_up(serve: Serve) -> None:
    server = serve()
    loud = AudioChunk(np.random.default_rng(0).uniform(-1, 1, 30 * 44_100).astype("f4"), 44_100)
    question = encode(file(loud, "FLAC", channels=2))
    async with httpx.AsyncClient() as client:
        asked = asyncio.create_task(asyncio.to_thread(ask, server, "audio/mpeg", audio=question))
        slowest = 0.0
        while not asked.done():
            start = time.monotonic()
            await client.get(server.url + "/health")
            slowest = max(slowest, time.monotonic() - start)
    assert (await asked).status_code == 200
    assert slowest < 0.5
