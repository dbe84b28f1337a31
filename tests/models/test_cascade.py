import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import numpy as np
import psutil
import pytest
import pytest_asyncio

pytest.importorskip("pocketsphinx")
pytest.importorskip("xllamacpp")
pytest.importorskip("espeakng_loader")

from duologue import weights
from duologue.audio import INPUT_RATE, REPLY_RATE, AudioChunk, concatenate, read_audio, silence
from duologue.errors import InvalidSetting, ModelFailed, ModelUnavailable
from duologue.model import Prompt, ReplyChunk, SpeechModel, Turn, load_model
from duologue.models.cascade import pipeline
from duologue.models.cascade.language import messages
from duologue.models.cascade.recogniser import written
from duologue.models.cascade.synthesiser import Synthesiser

needs_weights = pytest.mark.skipif(
    not (weights.cache_folder() / weights.WEIGHTS["smollm2-135m"].file_name).is_file(),
    reason="needs the weights; run: duologue pull smollm2-135m",
)
together = pytest.mark.asyncio(loop_scope="module")  # the model takes seconds to start

QUESTION = Path(__file__).parents[3] / "shared" / "audio" / "question1.wav"

SOON = 0.05  # seconds: an abandoned reply is gone


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model() -> AsyncIterator[SpeechModel]:
    cascade = load_model("cascade")
    await cascade.start()
    yield cascade
    await cascade.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def speech() -> AudioChunk:
    return await spoken("What is the weather like today?")


async def spoken(words: str) -> AudioChunk:
    synthesiser = Synthesiser("en-us")
    sound = (await synthesiser.speak(words)).at(INPUT_RATE)
    synthesiser.close()
    edge = silence(0.3, INPUT_RATE)
    return concatenate([edge, sound, edge], INPUT_RATE)


async def collect(model: SpeechModel, prompt: Prompt) -> list[ReplyChunk]:
    return [chunk async for chunk in model.reply(prompt)]


def said(chunks: list[ReplyChunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


def turn(user: str, reply: str) -> Turn:
    return Turn("turn", silence(0, INPUT_RATE), user, [ReplyChunk(text=reply)], status="completed")


def children(part: str) -> list[psutil.Process]:
    """The processes of a part of the model that run."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended in the meantime
            if any(part in argument for argument in child.cmdline()):
                found.append(child)
    return found


def computed(part: str) -> float:
    """Seconds that the processes of a part have computed."""
    seconds = 0.0
    for child in children(part):
        with contextlib.suppress(psutil.NoSuchProcess):
            seconds += child.cpu_times().user
    return seconds


def unread() -> str:
    """Instructions that are not in the language model's cache; reading them takes seconds."""
    return f"{time.time()} is the time. " * 20


async def abandon(task: "asyncio.Task[object]") -> float:
    """Cancel a task; how long that took, in seconds."""
    began = time.perf_counter()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return time.perf_counter() - began


async def comes_to_rest(part: str, within: float) -> bool:
    """Whether the processes of a part stop computing; they may have a piece of work to end."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        before = computed(part)
        await asyncio.sleep(0.1)
        if abs(computed(part) - before) < 0.02:
            return True
    return False


@pytest.mark.skipif(not QUESTION.is_file(), reason="needs ../shared/audio")
@needs_weights
@together
async def test_a_recorded_question_is_understood_and_answered(model: SpeechModel) -> None:
    chunks = await collect(model, Prompt(read_audio(QUESTION)))
    assert chunks[0] == ReplyChunk(user_text="What is your name?")
    assert len(said(chunks)) > 5
    assert said(chunks) == said(chunks).strip()


@needs_weights
@together
async def test_each_clause_comes_with_its_sound(model: SpeechModel, speech: AudioChunk) -> None:
    [first, *clauses] = await collect(model, Prompt(speech))
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


@pytest.mark.skipif(not QUESTION.is_file(), reason="needs ../shared/audio")
@needs_weights
@together
async def test_the_first_clause_comes_before_the_last_is_written(model: SpeechModel) -> None:
    began = time.perf_counter()
    prompt = Prompt(read_audio(QUESTION), instructions="You are a pirate. Talk like a pirate.")
    times = [time.perf_counter() - began async for chunk in model.reply(prompt) if chunk.audio]
    assert len(times) > 1
    assert times[-1] - times[0] > 0.1


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
async def test_an_utterance_leaves_no_trace_in_the_next(
    model: SpeechModel, speech: AudioChunk
) -> None:
    async def heard() -> str | None:
        async with contextlib.aclosing(model.reply(Prompt(speech))) as reply:
            return (await anext(reply)).user_text

    first = await heard()
    loud = AudioChunk(np.clip(speech.samples * 1.6, -1, 1), INPUT_RATE)
    await collect(model, Prompt(loud))
    assert {await heard() for _ in range(3)} == {first}


@needs_weights
@together
async def test_the_turns_before_reach_the_language_model(model: SpeechModel) -> None:
    language = cast(pipeline.Cascade, model)._language
    key = turn("The key is in the blue vase.", "Thank you.")
    with_it = [clause async for clause in language.answer("Where is the key?", [key])]
    without = [clause async for clause in language.answer("Where is the key?")]
    assert "vase" in "".join(with_it)
    assert "vase" not in "".join(without)


@needs_weights
@together
async def test_many_answers_one_after_the_other_all_come(model: SpeechModel) -> None:
    # On connections that were kept, one in fifteen broke off.
    language = cast(pipeline.Cascade, model)._language
    for _ in range(20):
        assert [clause async for clause in language.answer("Hello.")]


@needs_weights
@together
async def test_instructions_reach_the_language_model(
    model: SpeechModel, speech: AudioChunk
) -> None:
    language = cast(pipeline.Cascade, model)._language
    answer = [text async for text in language.answer("Who are you?", (), "You are Captain Hook.")]
    assert "Hook" in "".join(answer)


@needs_weights
@together
async def test_a_conversation_of_any_length_is_answered(model: SpeechModel) -> None:
    language = cast(pipeline.Cascade, model)._language
    turns = [turn("7 1 9 " * 30, "漢字 😀 " * 30) for _ in range(50)]
    for instructions in ("1 2 3 漢字 " * 2000, "xqzjkwvf" * 2000, "1234567890" * 2000):
        answer = language.answer("\ud800 why " * 500, turns, instructions)
        with contextlib.suppress(TimeoutError):  # what is too long is refused at once
            async with asyncio.timeout(0.5), contextlib.aclosing(answer):
                assert await anext(answer)


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
            began = time.process_time()  # wall time would count what else the machine does
            await asyncio.sleep(0.001)
            worst = max(worst, time.process_time() - began)

    ticking = asyncio.create_task(tick())
    await asyncio.gather(*(collect(model, Prompt(speech)) for _ in range(2)))
    await abandon(cast("asyncio.Task[object]", ticking))
    assert worst < 0.02  # 4 ms where this was written


@needs_weights
@together
async def test_abandoned_while_recognising(model: SpeechModel, speech: AudioChunk) -> None:
    long = concatenate([speech] * 20, INPUT_RATE)  # takes seconds
    for _ in range(3):
        task = asyncio.ensure_future(collect(model, Prompt(long)))
        await asyncio.sleep(0.1)
        assert await abandon(cast("asyncio.Task[object]", task)) < SOON
    assert await comes_to_rest("pocketsphinx_child", within=5)
    assert len(children("pocketsphinx_child")) == 2
    assert said(await collect(model, Prompt(speech)))


@needs_weights
@together
async def test_abandoned_while_waiting_for_a_recogniser(
    model: SpeechModel, speech: AudioChunk
) -> None:
    busy = [asyncio.create_task(collect(model, Prompt(speech))) for _ in range(2)]
    await asyncio.sleep(0)
    waiting = asyncio.create_task(collect(model, Prompt(speech)))
    last = asyncio.create_task(collect(model, Prompt(speech)))
    await asyncio.sleep(0.05)
    assert await abandon(cast("asyncio.Task[object]", waiting)) < SOON
    assert all(map(said, await asyncio.gather(*busy, last)))


@needs_weights
@together
async def test_abandoned_while_the_conversation_is_read(
    model: SpeechModel, speech: AudioChunk
) -> None:
    reply = model.reply(Prompt(speech, instructions=unread()))
    await anext(reply)
    task = asyncio.ensure_future(anext(reply))
    await asyncio.sleep(0.2)
    assert not task.done()
    assert await abandon(cast("asyncio.Task[object]", task)) < SOON
    assert await comes_to_rest("llama_child", within=1.5)  # reading it all takes longer
    assert said(await collect(model, Prompt(speech)))


@needs_weights
@together
@pytest.mark.parametrize("chunks", [1, 2])
async def test_abandoned_between_two_chunks(
    chunks: int, model: SpeechModel, speech: AudioChunk
) -> None:
    reply = model.reply(Prompt(speech))
    for _ in range(chunks):
        await anext(reply)
    began = time.perf_counter()
    await reply.aclose()
    assert time.perf_counter() - began < SOON
    assert await comes_to_rest("llama_child", within=1)


@needs_weights
@together
async def test_abandoned_while_the_answer_is_written(
    model: SpeechModel, speech: AudioChunk
) -> None:
    reply = model.reply(Prompt(speech, instructions="Answer in ten long sentences."))
    await anext(reply)
    task = asyncio.ensure_future(anext(reply))
    await asyncio.sleep(0.15)  # the first token is there, or about to come; the first clause is not
    assert await abandon(cast("asyncio.Task[object]", task)) < SOON
    assert await comes_to_rest("llama_child", within=1)


@needs_weights
@together
async def test_a_language_model_that_dies_fails_one_reply(
    model: SpeechModel, speech: AudioChunk
) -> None:
    reply = model.reply(Prompt(speech, instructions=unread()))
    await anext(reply)
    task = asyncio.ensure_future(anext(reply))
    await asyncio.sleep(0.2)
    [process] = children("llama_child")
    process.kill()
    with pytest.raises(ModelFailed, match="the language model broke down"):
        await task
    assert said(await collect(model, Prompt(speech)))
    assert len(children("llama_child")) == 1


@needs_weights
@together
async def test_a_language_model_that_dies_between_replies_is_started_again(
    model: SpeechModel, speech: AudioChunk
) -> None:
    [process] = children("llama_child")
    process.kill()
    await asyncio.sleep(0.2)
    assert said(await collect(model, Prompt(speech)))


@needs_weights
@together
async def test_a_recogniser_that_dies_fails_one_reply(
    model: SpeechModel, speech: AudioChunk
) -> None:
    task = asyncio.create_task(collect(model, Prompt(concatenate([speech] * 5, INPUT_RATE))))
    await asyncio.sleep(0.1)
    for process in children("pocketsphinx_child"):
        process.kill()
    with pytest.raises(ModelFailed, match="the recogniser broke down"):
        await task
    with contextlib.suppress(ModelFailed):  # the other one was killed too
        await collect(model, Prompt(speech))
    for _ in range(3):
        assert said(await collect(model, Prompt(speech)))
    assert len(children("pocketsphinx_child")) == 2


@needs_weights
async def test_nothing_is_left_after_close() -> None:
    before = set(psutil.Process().children(recursive=True))
    model = load_model("cascade", recognisers="1")
    await model.start()
    task = asyncio.create_task(collect(model, Prompt(await spoken("One, two, three, four."))))
    await asyncio.sleep(0.05)
    await abandon(cast("asyncio.Task[object]", task))  # its place is being repaired
    assert set(psutil.Process().children(recursive=True)) > before
    await model.close()
    assert set(psutil.Process().children(recursive=True)) == before
    assert asyncio.all_tasks() == {asyncio.current_task()}


@needs_weights
def test_the_processes_end_with_a_server_that_is_killed() -> None:
    script = """
import asyncio
from duologue.model import load_model
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
    assert psutil.wait_procs(processes, timeout=5)[1] == []


@needs_weights
@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.8])
async def test_a_start_that_is_abandoned_leaves_nothing(seconds: float) -> None:
    before = set(psutil.Process().children(recursive=True))
    task = asyncio.ensure_future(load_model("cascade").start())
    await asyncio.sleep(seconds)
    await abandon(cast("asyncio.Task[object]", task))
    assert set(psutil.Process().children(recursive=True)) == before
    assert asyncio.all_tasks() == {asyncio.current_task()}


@needs_weights
async def test_close_without_start_is_fine() -> None:
    await load_model("cascade").close()


async def test_weights_that_cannot_be_read_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUOLOGUE_CACHE", str(tmp_path))
    row = weights.WEIGHTS["smollm2-135m"]
    with (tmp_path / row.file_name).open("wb") as file:
        file.truncate(row.size)
    before = set(psutil.Process().children(recursive=True))
    model = load_model("cascade")
    with pytest.raises(ModelUnavailable, match=r"the language model could not start: .+"):
        await model.start()
    assert set(psutil.Process().children(recursive=True)) == before


def test_missing_weights_are_told_before_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUOLOGUE_CACHE", str(tmp_path))
    with pytest.raises(ModelUnavailable, match="run: duologue pull smollm2-135m"):
        load_model("cascade")


def test_a_missing_package_is_told_before_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "_PACKAGES", ("no_such_package",))
    with pytest.raises(ModelUnavailable, match=r"pip install 'duologue\[cascade\]'"):
        load_model("cascade")


@pytest.mark.parametrize("number", ["0", "9", "-1", "two", "", "²"])
def test_a_wrong_number_of_recognisers_is_refused(number: str) -> None:
    with pytest.raises(InvalidSetting, match="from 1 to 8"):
        load_model("cascade", recognisers=number)


def test_an_unknown_voice_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="no voice 'nobody'"):
        Synthesiser("nobody")


async def test_two_voices_do_not_mix() -> None:
    american, german = Synthesiser("en-us"), Synthesiser("de")
    first, _, second = await asyncio.gather(
        american.speak("Good morning"), german.speak("Guten Morgen"), american.speak("Good morning")
    )
    american.close()
    german.close()
    assert first.duration == pytest.approx(second.duration, rel=0.01)  # it is not quite exact


async def test_words_that_make_no_sound_give_an_empty_chunk() -> None:
    synthesiser = Synthesiser("en-us")
    assert (await synthesiser.speak("")).duration == 0
    synthesiser.close()


def test_spoken_words_are_written_as_sentences() -> None:
    assert written("what did i say") == "What did I say?"
    assert written(" tell me a joke ") == "Tell me a joke."
    assert written("") == ""


def test_the_conversation_has_instructions_and_the_turns_that_were_heard() -> None:
    turns = [turn("", "I did not catch that."), turn("Hi.", ""), turn("My name is Anna.", "Hello!")]
    [system, *example, user, reply, question] = messages("What is it?", turns, "Be kind.")
    assert str(system["content"]).endswith("Be kind.")
    assert len(example) == 2
    assert [user["content"], reply["content"]] == ["My name is Anna.", "Hello!"]
    assert question["content"] == "What is it?"


def test_old_turns_are_forgotten_a_few_at_a_time() -> None:
    turns = [turn(f"Question {number}.", "An answer. " * 4) for number in range(60)]
    firsts = [str(messages("Why?", turns[:count], "")[3]["content"]) for count in range(20, 60)]
    assert 4 < len(set(firsts)) < 10  # so that most conversations begin like the one before
    for count in range(60):
        kept = messages("Why?", turns[:count], "")[3:-1]
        assert min(2 * count, 4) <= len(kept) <= 30
        assert not kept or kept[-1]["content"] == ("An answer. " * 4).strip()


def test_the_last_turn_is_kept_however_long_it_is() -> None:
    conversation = messages("Why?", [turn("Hi.", "Hi."), turn("Tell me.", "word " * 1000)], "")
    assert conversation[-3]["content"] == "Tell me."
    assert 0 < len(str(conversation[-2]["content"])) < 600
