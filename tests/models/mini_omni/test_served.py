"""Mini-Omni in small behind a real server: POST /chat, the options, who leaves and who waits."""

import asyncio
import base64
import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

pytest.importorskip("torch")
pytest.importorskip("duologue.system.openvino")

from conftest import Serve
from duologue.audio import INPUT_RATE, REPLY_RATE
from duologue.errors import InvalidSetting, ModelUnavailable
from duologue.models import load_model
from duologue.models.engine import Engine
from duologue.models.mini_omni.checkpoint import Checkpoint

FRAME = 2048


@pytest.fixture
def model(mini_omni_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setenv("DUOLOGUE_CACHE", str(mini_omni_cache))
    model = load_model("mini-omni", slots="2", max_reply="2", device="cpu")
    assert isinstance(model, Engine)
    return model


def question(seconds: float, rate: int = INPUT_RATE, channels: int = 1, seed: int = 0) -> str:
    """Noise, as base64 of a WAV file."""
    samples = np.random.default_rng(seed).normal(0, 0.1, (round(seconds * rate), channels))
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV")
    return base64.b64encode(file.getvalue()).decode()


async def ask(url: str, **fields: Any) -> httpx.Response:
    async with httpx.AsyncClient(timeout=120) as client:
        return await client.post(f"{url}/chat", json=fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"audio": question(0.01)},
        {"audio": question(1, 8000)},
        {"audio": question(1, 48_000, channels=2)},
        {"audio": question(29.9)},
    ],
    ids=["10 ms", "8 kHz", "48 kHz, stereo", "30 s"],
)
async def test_any_utterance_is_answered(
    serve: Serve, model: Engine, fields: dict[str, Any]
) -> None:
    response = await ask(serve(model).url, **fields)
    assert response.status_code == 200
    samples = np.frombuffer(response.content, "<i2")
    assert len(samples) == round(2 * REPLY_RATE / FRAME) * FRAME
    assert samples.std() > 30, "that is silence"


async def test_a_chunk_of_a_reply_is_as_long_as_max_tokens_says(
    serve: Serve, model: Engine
) -> None:
    response = await ask(serve(model).url, audio=question(1), max_tokens=5)
    assert len(response.content) == 2 * 5 * FRAME


async def test_ten_requests_to_two_slots_are_all_answered_in_full(
    serve: Serve, model: Engine
) -> None:
    url = serve(model).url
    answers = await asyncio.gather(*(ask(url, audio=question(0.5, seed=n)) for n in range(10)))
    assert [answer.status_code for answer in answers] == [200] * 10
    whole = 2 * round(2 * REPLY_RATE / FRAME) * FRAME
    assert [len(answer.content) for answer in answers] == [whole] * 10
    assert len({answer.content for answer in answers}) > 5, "the answers are those of others"
    assert model.free_slots == 2


async def test_who_leaves_after_a_chunk_leaves_a_free_slot(serve: Serve, model: Engine) -> None:
    url = serve(model).url
    async with httpx.AsyncClient(timeout=120) as client:
        for _ in range(4):
            fields = {"audio": question(0.5)}
            async with client.stream("POST", f"{url}/chat", json=fields) as response:
                await anext(response.aiter_raw())
    async with asyncio.timeout(120):
        while model.free_slots < 2:
            await asyncio.sleep(0.01)
    assert (await ask(url, audio=question(0.5))).status_code == 200


async def test_random_weights_say_that_they_are_noise(serve: Serve, model: Engine) -> None:
    note = model.capabilities.note
    assert note == "Random weights: all it utters is noise. Mini-Omni hears this turn only."
    async with httpx.AsyncClient(timeout=120) as client:
        health = await client.get(f"{serve(model).url}/health")
    assert health.json()["note"] == note


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("weights", "mine", "weights are auto, real or random, not 'mine'"),
        ("device", "tpu", "device is auto, cpu or cuda, not 'tpu'"),
        ("precision", "int3", "precision on cpu is int8 or int4 or fp32, not 'int3'"),
        ("slots", "0", "slots is a whole number from 1 to 16, not '0'"),
        ("slots", "many", "slots is a whole number from 1 to 16, not 'many'"),
        ("max_reply", "-1", "max_reply is a whole number from 1 to 120, not '-1'"),
        ("window", "20", "window is auto, exact or pooled, not '20'"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_in_a_sentence(
    mini_omni_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    option: str,
    value: str,
    sentence: str,
) -> None:
    monkeypatch.setenv("DUOLOGUE_CACHE", str(mini_omni_cache))
    with pytest.raises(InvalidSetting) as error:
        load_model("mini-omni", **{"device": "cpu", option: value})
    assert str(error.value) == sentence


def test_an_option_that_there_is_not_is_refused(tiny: Checkpoint) -> None:
    with pytest.raises(ModelUnavailable, match="does not take these options"):
        load_model("mini-omni", tongue="long")


def test_without_weights_it_says_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUOLOGUE_CACHE", str(tmp_path))
    with pytest.raises(ModelUnavailable, match="run: duologue pull mini-omni"):
        load_model("mini-omni")


async def test_four_bits_are_there_on_request_and_say_what_they_are(
    serve: Serve, mini_omni_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUOLOGUE_CACHE", str(mini_omni_cache))
    model = load_model("mini-omni", precision="int4", device="cpu", max_reply="1")
    assert "int4 weights: quicker, and far from what was trained." in model.capabilities.note
    response = await ask(serve(model).url, audio=question(0.5))
    assert len(response.content) == 2 * round(REPLY_RATE / FRAME) * FRAME
