import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio

pytest.importorskip("xllamacpp")

from rigs.processes import children, computed

from duologue import weights
from duologue.conversation.items import Item, Usage
from duologue.models.cascade.language import LanguageModel
from duologue.models.cascade.parts import LimitReached
from duologue.models.cascade.prompt import SMALL, messages
from models.cascade.rig import left_open, needs_weights, together, turn, until


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def language() -> AsyncIterator[LanguageModel]:
    language = LanguageModel(weights.locate("smollm2-135m"))
    await language.start()
    yield language
    await language.close()


@needs_weights
@together
async def test_the_turns_before_reach_the_language_model(language: LanguageModel) -> None:
    key = turn("The key is in the blue vase.", "Thank you.")
    with_it = [str(piece) async for piece in language.answer("Where is the key?", key)]
    without = [str(piece) async for piece in language.answer("Where is the key?")]
    assert "vase" in "".join(with_it)
    assert "vase" not in "".join(without)


@needs_weights
@together
async def test_an_answer_comes_piece_by_piece(language: LanguageModel) -> None:
    answer = language.answer("Count from one to twenty.")
    async with contextlib.aclosing(answer):
        first = str(await anext(answer))
        rest = [str(piece) async for piece in answer]
    assert first
    assert len(rest) > 3
    assert len(first) < len("".join(rest))


@needs_weights
@together
async def test_an_answer_that_is_given_up_is_closed_to_its_last_part(
    language: LanguageModel,
) -> None:
    with left_open() as streams:
        answer = language.answer("Count from one to twenty.")
        await anext(answer)
        await answer.aclose()
    assert streams == []


@needs_weights
@together
async def test_its_threads_soon_sleep_while_they_wait_for_each_other(
    language: LanguageModel,
) -> None:
    (process,) = children("llama_child")
    known = process.environ()
    assert (known["GOMP_SPINCOUNT"], known["OPENBLAS_NUM_THREADS"]) == ("2000", "1")


@needs_weights
@together
async def test_many_answers_one_after_the_other_all_come(language: LanguageModel) -> None:
    # On connections that were kept, one in fifteen broke off.
    for _ in range(20):
        assert [str(piece) async for piece in language.answer("Hello.")]


@needs_weights
@together
async def test_an_answer_has_as_many_tokens_as_it_may_and_they_are_counted(
    language: LanguageModel,
) -> None:
    counted: list[Usage] = []

    async def listen(limit: int) -> None:
        async for piece in language.answer("Count from one to twenty.", limit=limit):
            counted.extend([piece] if isinstance(piece, Usage) else [])

    with pytest.raises(LimitReached):
        await listen(3)
    await listen(0)
    await listen(4096)  # no more than usual
    limited, usual, many = counted
    assert limited.output_text == 3
    assert limited.input_text == usual.input_text == many.input_text > 10
    assert 3 < usual.output_text == many.output_text <= 80


@needs_weights
@together
async def test_instructions_reach_the_language_model(language: LanguageModel) -> None:
    answer = [
        str(text) async for text in language.answer("Who are you?", (), "You are Captain Hook.")
    ]
    assert "Hook" in "".join(answer)


@needs_weights
@together
async def test_a_conversation_of_any_length_is_answered(language: LanguageModel) -> None:
    turns = turn("7 1 9 " * 30, "漢字 😀 " * 30) * 50
    for instructions in ("1 2 3 漢字 " * 2000, "xqzjkwvf" * 2000, "1234567890" * 2000):
        answer = language.answer("\ud800 why " * 500, turns, instructions)
        async with contextlib.aclosing(answer):
            # Too long is refused unread; reading takes 10 s, of which the first will do.
            before = computed("llama_child")
            begun = asyncio.ensure_future(anext(answer))
            await until(lambda: begun.done() or computed("llama_child") > before + 0.3)  # noqa: B023
            if begun.done():
                assert begun.result()
            begun.cancel()
            await asyncio.wait([begun])


@needs_weights
@together
async def test_what_was_read_ahead_is_not_read_again(
    language: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    next_piece = openai.AsyncStream.__anext__

    async def seen(stream: openai.AsyncStream[Any]) -> Any:
        piece = await next_piece(stream)
        if progress := (piece.model_extra or {}).get("prompt_progress"):
            read.append(progress["total"] - progress["cache"])
        return piece

    monkeypatch.setattr(openai.AsyncStream, "__anext__", seen)
    turns = [*turn("Tell me a story of five foxes.", "There were five foxes in a wood. " * 5)]
    language.read_ahead(turns, "You like animals.")
    language.read_ahead(turns, "You like animals.")
    await asyncio.wait([*language._reading.values()])
    ahead, read[:] = list(read), []
    language.read_ahead(turns, "You like animals.")
    assert not language._reading
    async with contextlib.aclosing(language.answer("Why?", turns, "You like animals.")) as answer:
        await anext(answer)
    assert max(ahead) > 50
    assert 0 < max(read) < 20


@needs_weights
@together
async def test_who_asks_while_it_reads_ahead_waits_for_that(language: LanguageModel) -> None:
    turns = [*turn("What is in the box?", "There is a green frog in the box.")]
    language.read_ahead(turns)
    (reading,) = language._reading.values()
    answer = language.answer("Which animal is in the box?", turns)
    async with contextlib.aclosing(answer):
        first = str(await anext(answer))
        assert reading.done()
        assert "frog" in first + "".join([str(piece) async for piece in answer])


@needs_weights
@together
async def test_one_that_is_held_stands_still_and_is_not_taken_for_hung(
    language: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("duologue.models.cascade.language._PATIENCE", 0.6)
    monkeypatch.setattr("duologue.models.cascade.language._LOOK", 0.1)
    pid = [process.pid for process in children("llama_child")]
    answer = language.answer("Count from one to twenty.")
    async with contextlib.aclosing(answer):
        first = str(await anext(answer))
        with language.held(), language.held():
            following = asyncio.create_task(anext(answer))
            await asyncio.sleep(0.1)
            before = computed("llama_child")
            await asyncio.sleep(2)
            assert computed("llama_child") == before
        assert (
            len(first + str(await following) + "".join([str(piece) async for piece in answer])) > 20
        )
    assert [process.pid for process in children("llama_child")] == pid


def test_the_conversation_has_instructions_and_the_turns_that_were_heard() -> None:
    turns = [
        *turn("", "I did not catch that."),
        *turn("Hi.", ""),
        *turn("My name is Anna.", "Hello!"),
    ]
    [system, *example, user, reply, question] = messages(
        "What is it?", turns, "Be kind.", style=SMALL
    )
    assert str(system["content"]).endswith("Be kind.")
    assert len(example) == 2
    assert [user["content"], reply["content"]] == ["Hi.\nMy name is Anna.", "Hello!"]
    assert question["content"] == "What is it?"


def test_old_turns_are_forgotten_a_few_at_a_time() -> None:
    turns = [
        item for number in range(60) for item in turn(f"Question {number}.", "An answer. " * 4)
    ]
    firsts = [
        str(messages("Why?", turns[: 2 * count], "", style=SMALL)[3]["content"])
        for count in range(20, 60)
    ]
    assert 4 < len(set(firsts)) < 10  # so that most conversations begin like the one before
    for count in range(60):
        kept = messages("Why?", turns[: 2 * count], "", style=SMALL)[3:-1]
        assert min(2 * count, 4) <= len(kept) <= 30
        assert not kept or kept[-1]["content"] == ("An answer. " * 4).strip()


def test_the_last_turn_is_kept_however_long_it_is() -> None:
    conversation = messages(
        "Why?", [*turn("Hi.", "Hi."), *turn("Tell me.", "word " * 1000)], "", style=SMALL
    )
    assert conversation[-3]["content"] == "Tell me."
    assert 0 < len(str(conversation[-2]["content"])) < 600


def test_however_much_a_client_has_written_little_of_it_is_read() -> None:
    written = [
        Item(f"{number}", "system" if number % 2 else "user", text=f"{number} " * 10_000)
        for number in range(1000)
    ]
    conversation = messages("Why?", written, "Be kind.", style=SMALL)
    assert "Be kind." in str(conversation[0]["content"])
    assert sum(len(str(message["content"])) for message in conversation) < 6_000
    assert str(conversation[-1]["content"]).endswith("Why?")
