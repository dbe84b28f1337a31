"""`POST /chat` over HTTP, as clients of the original Mini-Omni server speak to it."""

import asyncio
import io
import json
import socket

import httpx
import numpy as np
import pytest
import soundfile

from conftest import Serve
from duologue.audio import REPLY_RATE, from_pcm16, silence
from duologue.audio.files import read_audio
from duologue.conversation.items import ReplyChunk
from duologue.server.app import Uvicorn
from duologue.testing import ScriptedModel, say
from transports.chats import FRAME, LIMIT, QUESTION, Gate, anext_piece, ask, error, post, wait_for

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
    first, rest = await asyncio.wait_for(asked, LIMIT)
    assert first
    assert rest > len(first)


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
        head = "POST /chat HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
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
    assert [list(prompt.items) for prompt in model.prompts] == [[], []]


# Who may.


def test_a_page_of_another_origin_is_refused(serve: Serve) -> None:
    server = serve()
    body = json.dumps({"audio": QUESTION}).encode()
    response = post(server, body, origin="https://evil.example")
    assert response.status_code == 403
    assert error(response)["code"] == "origin_not_allowed"
    assert access(response) == {}
    assert post(server, body, origin=server.url).status_code == 200


def access(response: httpx.Response) -> dict[str, str]:
    """What a browser is told about pages of another origin."""
    start = "access-control-"
    headers = response.headers.items()
    return {name.removeprefix(start): text for name, text in headers if name.startswith(start)}


FRIEND = "https://friend.example"


def preflight(server: Uvicorn, origin: str) -> httpx.Response:
    asked = {"origin": origin, "access-control-request-method": "POST"}
    asked["access-control-request-headers"] = "authorization,content-type"
    return httpx.options(server.url + "/chat", headers=asked)


def test_a_page_of_an_allowed_origin_is_let_in_as_browsers_ask_for_it(serve: Serve) -> None:
    server = serve(allow_origin=(FRIEND,), api_key="open-sesame")
    allowed = preflight(server, FRIEND)
    assert allowed.status_code == 204
    assert access(allowed) == {
        "allow-origin": FRIEND,
        "allow-methods": "POST",
        "allow-headers": "Authorization, Content-Type",
        "max-age": "600",
    }
    body = json.dumps({"audio": QUESTION}).encode()
    for key, status in (("open-sesame", 200), ("wrong", 401)):
        response = post(server, body, origin=FRIEND, authorization=f"Bearer {key}")
        assert response.status_code == status, "and the page may read why"
        assert access(response) == {"allow-origin": FRIEND}
        assert response.headers["vary"] == "Origin"


@pytest.mark.parametrize("page", [False, True])
def test_a_page_of_another_origin_is_not_even_let_ask(serve: Serve, page: bool) -> None:
    refused = preflight(serve(allow_origin=(FRIEND,), page=page), "https://evil.example")
    assert refused.status_code == 403
    assert access(refused) == {}


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
