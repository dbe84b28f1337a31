"""What `POST /chat` takes for a question, and what it says about the rest."""

import base64
import json
import socket
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from conftest import Serve
from duologue.audio import REPLY_RATE, AudioChunk, from_pcm16, silence, to_wav
from duologue.testing import ScriptedModel, say, tone
from transports.chats import LIMIT, QUESTION, ask, encode, error, file, post, under_way, wait_for


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


@pytest.mark.parametrize(
    "write",
    [
        lambda data: base64.encodebytes(data),
        lambda data: base64.encodebytes(data).replace(b"\n", b"\r\n"),
        lambda data: base64.urlsafe_b64encode(data),
        lambda data: base64.urlsafe_b64encode(data).rstrip(b"="),
        lambda data: b"data:audio/wav;base64," + base64.b64encode(data),
        lambda data: b"data:audio/wav;codecs=1;BASE64," + base64.urlsafe_b64encode(data),
    ],
    ids=["lines", "their lines", "for URLs", "without padding", "a data: URL", "a strange one"],
)
def test_base64_may_be_written_as_programs_write_it(
    serve: Serve, write: Callable[[bytes], bytes]
) -> None:
    model = ScriptedModel([say("Noise.")])
    sound = AudioChunk(np.random.default_rng(0).uniform(-1, 1, 16_000).astype("f4"), 16_000)
    ask(serve(model), audio=write(to_wav(sound)).decode())
    assert np.abs(model.prompts[0].utterance.samples - sound.samples).max() < 1e-3


def test_what_is_more_than_the_original_takes_is_the_most_it_takes(serve: Serve) -> None:
    server = serve(ScriptedModel([say("La.", 0.2)]))
    said = ask(server).content
    for name, value in (("max_tokens", 2**70), ("stream_stride", 0), ("stream_stride", 2**70)):
        fields: dict[str, Any] = {name: value}
        response = ask(server, **fields)
        assert (response.status_code, response.content) == (200, said)


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
        ({"audio": "QUJDQ"}, "audio", "not valid base64"),
        ({"audio": "QQ==QUJD"}, "audio", "not valid base64"),
        ({"audio": "data:audio/wav,%00"}, "audio", "as in data:audio/wav;base64,AAAA; not 'data:audio"),
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
        ({"max_tokens": "4"}, "max_tokens", "not a string"),
        ({"max_tokens": True}, "max_tokens", "not true"),
        ({"max_tokens": 4.0}, "max_tokens", "not 4.0"),
        ({"max_tokens": None}, "max_tokens", "not null"),
        ({"stream_stride": -4}, "stream_stride", "from 0 to 2048, not -4"),
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
    response = post(serve(), b"{}", content_type="text/plain" * 1_000)
    assert response.status_code == 415
    assert error(response)["code"] == "unsupported_media_type"
    assert len(response.text) < 400, "and only the beginning of what was sent comes back"


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
    wait_for(lambda: under_way(server) == 0)
    address = httpx.URL(server.url)
    with socket.create_connection((address.host, address.port or 80)) as line:
        line.sendall(
            b"POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 99999999999\r\n\r\n"
        )
        assert line.recv(100).startswith(b"HTTP/1.1 413 ")


def test_only_post_is_answered(serve: Serve) -> None:
    assert httpx.get(serve().url + "/chat", timeout=LIMIT).status_code == 405
