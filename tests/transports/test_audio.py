"""The ears and the voice alone, over HTTP: OpenAI's client, and what it would never send."""

from collections.abc import AsyncGenerator

import httpx
import numpy as np
import openai
import pytest

from conftest import Serve
from duologue.audio import REPLY_RATE, AudioChunk, from_pcm16, to_wav
from duologue.audio.files import read_audio
from duologue.errors import InvalidSetting, ModelFailed
from duologue.testing import ScriptedModel, tone


class Talker(ScriptedModel):
    """Hears how long something is, and speaks a tone of a tenth of a second a word."""

    def __init__(self) -> None:
        super().__init__([])
        self.asked: list[tuple[object, ...]] = []
        self.fails_after = 1_000

    async def transcribe(
        self, utterance: AudioChunk, language: str = "", listener: str = "", likely: str = ""
    ) -> tuple[str, str]:
        self.asked.append((utterance.rate, language))
        if self.fails_after == 0:
            raise ModelFailed("the recogniser is not reached")
        return f"It lasts {utterance.duration:.1f} seconds.", language or "en"

    async def speak(
        self, text: str, voice: str = "", speed: float = 1.0
    ) -> AsyncGenerator[AudioChunk, None]:
        self.asked.append((text, voice, speed))
        if not any(letter.isalnum() for letter in text):
            return
        if voice == "nobody":
            raise InvalidSetting("there is no voice 'nobody'")
        for number, _ in enumerate(text.split()):
            if number == self.fails_after:
                raise ModelFailed("the synthesiser broke down")
            yield tone(0.1, REPLY_RATE)


@pytest.fixture
def model() -> Talker:
    return Talker()


@pytest.fixture
def url(serve: Serve, model: Talker) -> str:
    return serve(model).url


def client(url: str, key: str = "any") -> openai.OpenAI:
    return openai.OpenAI(api_key=key, base_url=f"{url}/v1", max_retries=0)


FILE = ("speech.wav", to_wav(tone(1.5, 44_100)), "audio/wav")


def test_a_file_is_transcribed(url: str, model: Talker) -> None:
    with client(url) as openai_client:
        answer = openai_client.audio.transcriptions.create(model="whisper-1", file=FILE)
        assert answer.text == "It lasts 1.5 seconds."
        verbose = openai_client.audio.transcriptions.create(
            model="any", file=FILE, language="de", response_format="verbose_json"
        )
        assert verbose.language == "de"
        assert verbose.duration == pytest.approx(1.5, abs=0.01)
        text: object = openai_client.audio.transcriptions.create(
            model="any", file=FILE, response_format="text"
        )
        assert text == "It lasts 1.5 seconds."
    assert model.asked == [(16_000, ""), (16_000, "de"), (16_000, "")]


def test_a_text_is_read_out(url: str, model: Talker) -> None:
    with client(url) as openai_client:
        sound = openai_client.audio.speech.create(
            model="tts-1", voice="alloy", input="One two three.", response_format="pcm", speed=1.5
        ).read()
        assert from_pcm16(sound, REPLY_RATE).duration == pytest.approx(0.3, abs=0.001)
        for kind in ("wav", "mp3"):
            file = openai_client.audio.speech.create(
                model="tts-1",
                voice="af_heart",
                input="One two three.",
                response_format=kind,
            ).read()
            assert read_audio(file).duration == pytest.approx(0.3, abs=0.1)
    assert model.asked[0] == ("One two three.", "alloy", 1.5)


def test_the_only_model_is_listed(url: str) -> None:
    with client(url) as openai_client:
        assert [entry.id for entry in openai_client.models.list()] == ["echo"]


@pytest.mark.parametrize("voices", [(), ("eve", "adam")])
def test_the_voices_are_listed_the_usual_one_first(serve: Serve, voices: tuple[str, ...]) -> None:
    server = serve(ScriptedModel([], voices=voices))
    listed = httpx.get(f"{server.url}/v1/audio/voices").json()["voices"]
    assert [voice["id"] for voice in listed] == list(voices)
    assert [voice["name"] for voice in listed] == list(voices)


def test_a_page_that_may_connect_reads_the_list(serve: Serve) -> None:
    url = serve(allow_origin=("https://there.example",)).url
    here = {"Origin": "https://there.example"}
    asked = httpx.options(f"{url}/v1/models", headers=here)
    assert "GET" in asked.headers["access-control-allow-methods"]
    given = httpx.get(f"{url}/v1/models", headers=here)
    assert given.headers["access-control-allow-origin"] == here["Origin"]
    assert httpx.get(f"{url}/v1/models", headers={"Origin": "https://x.example"}).status_code == 403


@pytest.mark.parametrize(
    ("fields", "param", "sentence"),
    [
        ({}, "input", "input is a text of 1 to 10000 characters, not None"),
        ({"input": "  "}, "input", "not '  '"),
        ({"input": "a" * 10_001}, "input", "not 10001 characters"),
        ({"input": ["a"]}, "input", "input is a text"),
        ({"input": "🙂"}, "input", "input holds nothing that can be spoken"),
        ({"input": "🙂", "response_format": "wav"}, "input", "nothing that can be spoken"),
        ({"input": "a", "speed": 4}, "speed", "speed is a number from 0.5 to 2, not 4"),
        ({"input": "a", "speed": True}, "speed", "not True"),
        ({"input": "a", "voice": 3}, "voice", "voice is a name, not 3"),
        ({"input": "a", "response_format": "opus"}, "response_format", "mp3, wav, pcm, not 'opus'"),
        ({"input": "a", "voice": "nobody"}, None, "there is no voice 'nobody'"),
    ],
)
def test_speech_that_cannot_be_had_is_refused_in_a_sentence(
    url: str, fields: dict[str, object], param: str | None, sentence: str
) -> None:
    response = httpx.post(f"{url}/v1/audio/speech", json=fields)
    assert response.status_code == 400
    error = response.json()["error"]
    assert sentence in error["message"]
    assert error["param"] == param


@pytest.mark.parametrize(
    ("files", "data", "param", "sentence"),
    [
        ({"other": FILE}, {}, "file", "file is missing"),
        (
            {"file": ("x.wav", b"no sound at all", "audio/wav")},
            {},
            "file",
            "no sound file that can be read",
        ),
        ({"file": ("x.wav", b"", "audio/wav")}, {}, "file", "no sound file that can be read"),
        (
            {"file": FILE},
            {"response_format": "srt"},
            "response_format",
            "json, verbose_json, text, not 'srt'",
        ),
        ({"file": FILE}, {"prompt": "a" * 100_000}, None, "the form cannot be read"),
        ({"file": FILE, "more": FILE}, {}, None, "the form cannot be read: Too many files"),
    ],
)
def test_a_form_that_will_not_do_is_refused_in_a_sentence(
    url: str, files: dict[str, object], data: dict[str, str], param: str | None, sentence: str
) -> None:
    response = httpx.post(f"{url}/v1/audio/transcriptions", files=files, data=data)  # type: ignore[arg-type]
    assert response.status_code == 400
    error = response.json()["error"]
    assert sentence in error["message"]
    assert error["param"] == param


def test_a_body_that_is_no_form_is_refused(url: str) -> None:
    there = f"{url}/v1/audio/transcriptions"
    assert httpx.post(there, json={"file": "x"}).status_code == 415
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    for body in (b"", b"--y\r\n", b"--x\r\nnonsense", b"\x00" * 1000):
        response = httpx.post(there, content=body, headers=kind)
        assert response.status_code == 400, body
    kind = {"Content-Type": "multipart/form-data"}
    assert httpx.post(there, content=b"x", headers=kind).status_code == 400


def test_a_sound_of_more_than_five_minutes_is_refused(url: str) -> None:
    file = ("x.wav", to_wav(tone(301, 8_000)), "audio/wav")
    response = httpx.post(f"{url}/v1/audio/transcriptions", files={"file": file}, timeout=60)
    assert response.status_code == 413


def test_the_key_is_asked_for_and_other_pages_are_not_let_in(serve: Serve, model: Talker) -> None:
    url = serve(model, api_key="secret").url
    with client(url, "wrong") as wrong:
        with pytest.raises(openai.AuthenticationError):
            wrong.audio.transcriptions.create(model="any", file=FILE)
        with pytest.raises(openai.AuthenticationError):
            wrong.models.list()
    with client(url, "secret") as right:
        assert right.audio.transcriptions.create(model="any", file=FILE).text
        assert right.models.list().data
    response = httpx.post(
        f"{url}/v1/audio/speech", json={"input": "a"}, headers={"Origin": "https://evil.example"}
    )
    assert response.status_code == 403


def test_a_model_that_fails_is_told_before_the_first_sound_and_cuts_after_it(
    url: str, model: Talker
) -> None:
    model.fails_after = 0
    with (
        client(url) as openai_client,
        pytest.raises(openai.InternalServerError, match="not reached"),
    ):
        openai_client.audio.transcriptions.create(model="any", file=FILE)
    response = httpx.post(f"{url}/v1/audio/speech", json={"input": "One two"})
    assert response.status_code == 500
    assert response.json()["error"]["message"] == "the synthesiser broke down"
    model.fails_after = 1
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.post(f"{url}/v1/audio/speech", json={"input": "One two", "response_format": "wav"})


def test_a_model_without_ears_and_voice_of_its_own_says_so(serve: Serve) -> None:
    url = serve().url
    for response in (
        httpx.post(f"{url}/v1/audio/speech", json={"input": "a"}),
        httpx.post(f"{url}/v1/audio/transcriptions", files={"file": FILE}),
    ):
        assert response.status_code == 501
        assert "start the server with --model cascade" in response.json()["error"]["message"]


def test_sound_comes_as_it_is_made(url: str) -> None:
    fields = {"input": "word " * 2000, "response_format": "pcm"}
    with httpx.stream("POST", f"{url}/v1/audio/speech", json=fields) as response:
        assert response.headers["content-type"].startswith("audio/pcm")
        first = next(response.iter_bytes())
    assert np.frombuffer(first[: len(first) // 2 * 2], "<i2").any()
