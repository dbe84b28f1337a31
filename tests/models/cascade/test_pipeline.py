import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
import pytest

pytest.importorskip("ctranslate2")
pytest.importorskip("xllamacpp")
pytest.importorskip("espeakng_loader")

from rigs.processes import children

from duologue import weights
from duologue.audio import INPUT_RATE, REPLY_RATE, AudioChunk, silence
from duologue.audio.files import read_audio
from duologue.conversation.items import ReplyChunk
from duologue.conversation.prompt import Prompt
from duologue.errors import InvalidSetting, ModelUnavailable
from duologue.models import SpeechModel, cascade, load_model
from duologue.models.cascade.espeak import Espeak
from duologue.models.cascade.language import LanguageModel
from duologue.models.cascade.pipeline import Cascade
from models.cascade.rig import LIMIT, abandon, collect, needs_weights, said, spoken, together


@needs_weights
@together
async def test_a_recorded_question_is_understood_and_answered(
    model: SpeechModel, shared: Path
) -> None:
    chunks = await collect(model, Prompt(read_audio(shared / "audio/question1.wav")))
    assert chunks[0] == ReplyChunk(user_text="What is your name?", language="en")
    assert len(said(chunks)) > 5
    assert said(chunks) == said(chunks).strip()


@needs_weights
@together
async def test_each_clause_comes_with_its_sound(model: SpeechModel, speech: AudioChunk) -> None:
    [first, *rest] = await collect(model, Prompt(speech))
    clauses = [chunk for chunk in rest if not chunk.usage]
    assert len(clauses) == len(rest) - 1
    assert first.user_text
    assert first.audio is None
    assert clauses
    for clause in clauses:
        assert clause.text
        assert clause.user_text is None
        assert clause.audio
        assert clause.audio.rate == REPLY_RATE
        assert clause.audio.samples.dtype == np.float32
        assert 0.5 < np.abs(clause.audio.samples).max() < 0.71  # -6 to -3 dB
        assert 0.02 * len(clause.text) < clause.audio.duration < 0.2 * len(clause.text) + 0.5


@needs_weights
@together
async def test_the_first_clause_comes_before_the_last_is_written(
    model: SpeechModel, speech: AudioChunk, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = asyncio.Event()

    async def in_two_parts(*_: Any) -> AsyncIterator[str]:
        yield "This is the first sentence. This"
        async with asyncio.timeout(LIMIT):
            await heard.wait()
        yield " is the second one."

    # How much the language model writes is its own business, and different from machine to machine.
    monkeypatch.setattr(LanguageModel, "answer", in_two_parts)
    chunks = []
    async for chunk in model.reply(Prompt(speech)):
        chunks.append(chunk)
        if chunk.audio:
            heard.set()
    assert said(chunks) == "This is the first sentence. This is the second one."


@needs_weights
@together
async def test_a_voice_that_takes_all_processors_has_them_for_itself(
    model: SpeechModel, speech: AudioChunk, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice = cast(Cascade, model)._synthesiser
    seen: list[str] = []

    async def speak(self: Espeak, *arguments: Any) -> AsyncIterator[AudioChunk]:
        async with contextlib.aclosing(of_old(self, *arguments)) as sounds:
            async for sound in sounds:
                await asyncio.sleep(0.1)
                seen.extend(process.status() for process in children("llama_child"))
                yield sound

    of_old = Espeak.speak
    monkeypatch.setattr(Espeak, "speak", speak)
    monkeypatch.setattr(Espeak, "threads", 99)
    assert said(await collect(model, Prompt(speech)))
    assert voice.threads == 99
    assert set(seen) == {"stopped"}
    assert {process.status() for process in children("llama_child")} != {"stopped"}
    # One of several would wait for the voice of another.
    async with contextlib.aclosing(model.reply(Prompt(speech))) as other:
        await anext(other)
        seen.clear()
        await collect(model, Prompt(speech))
        assert "stopped" not in seen


@needs_weights
@together
@pytest.mark.parametrize("seconds", [0.0, 0.001, 2.0])
async def test_silence_is_answered_without_a_thought(model: SpeechModel, seconds: float) -> None:
    [heard, reply] = await collect(model, Prompt(silence(seconds, INPUT_RATE)))
    assert heard.user_text == ""
    assert reply.text == "I did not catch that."
    assert reply.audio
    assert reply.audio.duration > 0.5


@needs_weights
@together
async def test_noise_is_no_question(model: SpeechModel) -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, 2 * INPUT_RATE).astype(np.float32)
    [heard, reply] = await collect(model, Prompt(AudioChunk(noise, INPUT_RATE)))
    assert heard.user_text == ""
    assert reply.text == "I did not catch that."


@needs_weights
@together
async def test_four_replies_at_once_all_come_to_their_end(
    model: SpeechModel, speech: AudioChunk
) -> None:
    replies = await asyncio.gather(*(collect(model, Prompt(speech)) for _ in range(4)))
    assert all(said(chunks) for chunks in replies)


@needs_weights
@together
async def test_a_reply_does_not_hold_up_the_loop(model: SpeechModel, speech: AudioChunk) -> None:
    worst = 0.0

    async def tick() -> None:
        nonlocal worst
        while True:
            began = time.thread_time()  # what the loop computes, whatever else the machine does
            await asyncio.sleep(0.001)
            worst = max(worst, time.thread_time() - began)

    ticking = asyncio.create_task(tick())
    await asyncio.gather(*(collect(model, Prompt(speech)) for _ in range(2)))
    await abandon(ticking)
    assert worst < 0.02  # 4 ms where this was written


@needs_weights
async def test_nothing_is_left_after_close(speech: AudioChunk) -> None:
    before = set(psutil.Process().children(recursive=True))
    model = load_model("cascade")
    await model.start()
    task = asyncio.create_task(collect(model, Prompt(speech)))
    await asyncio.sleep(0.05)
    await abandon(task)  # its place is being repaired
    assert set(psutil.Process().children(recursive=True)) > before
    await model.close()
    assert set(psutil.Process().children(recursive=True)) == before
    assert asyncio.all_tasks() == {asyncio.current_task()}


@needs_weights
def test_the_processes_end_with_a_server_that_is_killed() -> None:
    script = """
import asyncio
from duologue.models import load_model
async def main():
    await load_model("cascade").start()
    print("ready", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as server:
        assert server.stdout
        assert server.stdout.readline() == b"ready\n"
        processes = psutil.Process(server.pid).children(recursive=True)
        assert len(processes) == 3
        server.kill()
    assert psutil.wait_procs(processes, timeout=LIMIT)[1] == []


@needs_weights
@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.8])
async def test_a_start_that_is_abandoned_leaves_nothing(seconds: float) -> None:
    before = set(psutil.Process().children(recursive=True))
    task = asyncio.ensure_future(load_model("cascade").start())
    await asyncio.sleep(seconds)
    await abandon(task)
    assert set(psutil.Process().children(recursive=True)) == before
    assert asyncio.all_tasks() == {asyncio.current_task()}


@needs_weights
async def test_close_without_start_is_fine() -> None:
    await load_model("cascade").close()


@pytest.mark.parametrize(
    ("broken", "part"), [("smollm2-135m", "language model"), ("whisper-base", "recogniser")]
)
@needs_weights
async def test_weights_that_cannot_be_read_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, part: str
) -> None:
    nonsense = tmp_path / "nonsense"
    nonsense.write_bytes(bytes(1000))
    locate = weights.locate
    monkeypatch.setattr(
        weights, "locate", lambda name: nonsense if name == broken else locate(name)
    )
    before = set(psutil.Process().children(recursive=True))
    model = load_model("cascade", stt="whisper-base")
    with pytest.raises(ModelUnavailable, match=f"the {part} could not start: .+"):
        await model.start()
    assert set(psutil.Process().children(recursive=True)) == before


def test_missing_weights_are_told_before_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUOLOGUE_CACHE", str(tmp_path))
    with pytest.raises(ModelUnavailable, match="run: duologue pull whisper-base"):
        load_model("cascade")


def test_a_missing_package_is_told_before_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cascade, "_PACKAGES", {"stt": ("no_such_package",)})
    with pytest.raises(ModelUnavailable, match=r"pip install 'duologue\[cascade\]'"):
        load_model("cascade")


@needs_weights
def test_espeak_does_not_want_what_runs_kokoro(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cascade._PACKAGES, "tts", ("no_such_package",))
    with pytest.raises(ModelUnavailable, match="needs the package 'no_such_package'"):
        load_model("cascade")
    assert "espeak-ng" in load_model("cascade", tts="espeak").capabilities.note


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        (
            "stt",
            "sphinx",
            "stt is one of whisper-base, whisper-tiny.en, or an address, not 'sphinx'",
        ),
        ("tts", "festival", "tts is kokoro, espeak, or an address, not 'festival'"),
        (
            "llm",
            "gpt",
            "llm is smollm2-135m, qwen2.5-0.5b, qwen2.5-1.5b, a GGUF file, or an address",
        ),
        ("llm", "no.gguf", "there is no file no.gguf for llm"),
        (
            "llm",
            "ftp://x/v1",
            "llm is an address such as http://127.0.0.1:11434/v1, not 'ftp://x/v1'",
        ),
        ("stt", "http://", "stt is an address such as"),
        ("voice", "xx-nobody", "espeak-ng has no voice 'xx-nobody'"),
        ("language", "xx", "whisper-base hears languages such as en, de and zh, not 'xx'"),
        ("speed", "11", "speed is a number from 0.5 to 2, not '11'"),
        ("speed", "nan", "speed is a number from 0.5 to 2, not 'nan'"),
        ("speed", "fast", "speed is a number from 0.5 to 2, not 'fast'"),
    ],
)
@needs_weights
def test_a_wrong_option_gets_a_sentence(option: str, value: str, sentence: str) -> None:
    with pytest.raises(InvalidSetting, match=sentence):
        load_model("cascade", **{option: value})


@needs_weights
@together
async def test_what_is_written_in_english_is_spoken_so_whatever_the_user_speaks(
    model: SpeechModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoken_in: list[str] = []
    synthesiser = model._synthesiser  # type: ignore[attr-defined]
    speak = synthesiser.speak

    def listen(words: str, language: str = "", *how: Any) -> AsyncGenerator[AudioChunk, None]:
        spoken_in.append(language)
        chunks: AsyncGenerator[AudioChunk, None] = speak(words, language, *how)
        return chunks

    monkeypatch.setattr(synthesiser, "speak", listen)
    german = await spoken(
        "Ich möchte bitte einen Kaffee mit Milch, und dazu ein Stück Kuchen.", "de"
    )
    chunks = await collect(model, Prompt(german))
    assert "Kaffee" in (chunks[0].user_text or "")
    assert set(spoken_in) == {"en"}


@needs_weights
@together
async def test_a_reply_is_as_slow_and_as_short_as_it_was_asked_for(
    model: SpeechModel, speech: AudioChunk
) -> None:
    can = model.capabilities
    assert (can.voices[0], can.speeds, can.counts) == ("en-us", (0.5, 2.0), True)
    usual = await collect(model, Prompt(speech))
    slow = await collect(model, Prompt(speech, voice="en-gb", speed=0.5))
    short = await collect(model, Prompt(speech, max_output_tokens=3))
    assert said(slow) == said(usual)
    assert sum(chunk.audio.duration for chunk in slow if chunk.audio) > 1.4 * sum(
        chunk.audio.duration for chunk in usual if chunk.audio
    )
    assert said(usual).startswith(said(short))
    assert 0 < len(said(short)) < len(said(usual))
    assert short[-1].incomplete
    assert not any(chunk.incomplete for chunk in usual)
    assert [chunk.usage.output_text for chunk in short if chunk.usage] == [3]
