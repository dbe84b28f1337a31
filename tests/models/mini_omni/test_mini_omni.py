"""Mini-Omni's slots: who joins and who leaves changes nobody's reply; a rest is never a hole."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("tokenizers")

import torch

from duologue.audio import INPUT_RATE, REPLY_RATE, AudioChunk
from duologue.conversation.items import ReplyChunk
from duologue.conversation.prompt import Prompt
from duologue.errors import InvalidAudio
from duologue.models.mini_omni.checkpoint import (
    ENCODER,
    LANGUAGE_MODEL,
    SNAC,
    TOKENIZER,
    Checkpoint,
    read_tensors,
)
from duologue.models.mini_omni.model import MiniOmni, describe
from duologue.models.mini_omni.nets.lm import language_model
from duologue.models.mini_omni.nets.snac import snac_decoder
from duologue.models.mini_omni.nets.whisper import encoder
from duologue.models.mini_omni.reply import ROWS, Options, Stage
from duologue.models.mini_omni.runtime import Floats, Span
from duologue.models.mini_omni.torch_runtime import TorchRuntime

SLOTS = 3
OPTIONS = Options(slots=SLOTS, max_reply=0.7)


class Clock:
    """Time that passes as a test wants: `pace` seconds at each look."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pace = 0.001

    def __call__(self) -> float:
        self.now += self.pace
        return self.now


@dataclass
class Heard:
    """What came of a reply."""

    samples: np.ndarray[tuple[int], np.dtype[np.float32]]
    text: str
    user_text: str | None


def runtime(checkpoint: Checkpoint, dtype: torch.dtype = torch.float64) -> TorchRuntime:
    """In double precision, so that no rounding decides between two tokens."""
    tensors = [
        {
            name: torch.from_numpy(array)
            for name, array in read_tensors(checkpoint.folder / file).items()
        }
        for file in (LANGUAGE_MODEL, ENCODER)
    ]
    return TorchRuntime(
        language_model(checkpoint.language_model, tensors[0], dtype),
        encoder(checkpoint.encoder, tensors[1], dtype),
        snac_decoder(checkpoint.snac, read_tensors(checkpoint.folder / SNAC)),
        checkpoint.snac,
        ROWS * SLOTS,
        pool=True,
    )


def start(
    checkpoint: Checkpoint, clock: Callable[[], float], options: Options = OPTIONS
) -> MiniOmni:
    model = MiniOmni(
        lambda: runtime(checkpoint), checkpoint.folder / TOKENIZER, options, "A test.", clock
    )
    model.start()
    return model


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def model(tiny: Checkpoint, clock: Clock) -> MiniOmni:
    return start(tiny, clock)


def prompt(number: int) -> Prompt:
    random = np.random.default_rng(number)
    samples = random.normal(0, 0.1, round((0.1 + 0.5 * number) * INPUT_RATE)).astype(np.float32)
    return Prompt(AudioChunk(samples, INPUT_RATE))


def join(chunks: Sequence[ReplyChunk]) -> Heard:
    sounds = [chunk.audio.samples for chunk in chunks if chunk.audio]
    told = [chunk.user_text for chunk in chunks if chunk.user_text is not None]
    assert len(told) <= 1
    return Heard(
        np.concatenate(sounds) if sounds else np.zeros(0, np.float32),
        "".join(chunk.text for chunk in chunks),
        told[0] if told else None,
    )


def overheard(
    number: int, *, more: float = 0.0, pause: int = 1, listener: str = "somebody"
) -> Prompt:
    """A question as it stands in a pause, or `more` seconds later, when nothing more was said."""
    samples = prompt(number).utterance.samples
    silent = np.zeros(round(more * INPUT_RATE), np.float32)
    utterance = AudioChunk(np.concatenate((samples, silent)), INPUT_RATE)
    return Prompt(utterance, listener=listener, pause=pause)


def hear_all(model: MiniOmni, *slots: int) -> int:
    """Steps that it takes until what is overheard in these slots is heard."""
    for step in range(100):
        if set(model.step(slots)) == {None}:
            for slot in slots:
                model.evict(slot)
            return step
    raise AssertionError("it is never heard")


def answer(model: MiniOmni, question: Prompt) -> Heard:
    """One reply with nobody beside it."""
    model.admit(0, question)
    chunks: list[ReplyChunk] = []
    for _ in range(500):
        [chunk] = model.step([0])
        if chunk is None:
            model.evict(0)
            return join(chunks)
        chunks.append(chunk)
    raise AssertionError("the reply has no end")


@pytest.fixture(scope="module")
def alone(model: MiniOmni) -> list[Heard]:
    """What each of four questions is answered with, one at a time."""
    return [answer(model, prompt(number)) for number in range(4)]


def test_a_reply_lasts_as_long_as_it_may_and_has_words_of_both(alone: list[Heard]) -> None:
    for heard in alone:
        # 8 frames are the nearest to 0.7 s; the last sample of the last one is there, too.
        assert len(heard.samples) == 8 * 2048
        assert np.abs(heard.samples).max() <= 1
        assert heard.samples.std() > 0.01
        assert heard.text
        assert heard.user_text
    assert len({heard.text for heard in alone}) > 1, (
        "the answers have nothing to do with what was said"
    )


@settings(deadline=None, max_examples=25)
@given(
    visits=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 60), st.integers(0, 120)),
        min_size=2,
        max_size=7,
    ),
    paces=st.lists(st.sampled_from([0.0001, 0.003, 0.05, 0.7]), min_size=1, max_size=5),
)
def test_joining_and_leaving_at_random_changes_nobody_elses_reply(
    model: MiniOmni,
    clock: Clock,
    alone: list[Heard],
    visits: list[tuple[int, int, int]],
    paces: list[float],
) -> None:
    """A visit: which question, when it comes, after how many steps its asker leaves."""
    waiting = sorted(enumerate(visits), key=lambda visit: visit[1][1])
    chunks: dict[int, list[ReplyChunk]] = {visit: [] for visit in range(len(visits))}
    complete: set[int] = set()
    active: dict[int, int] = {}  # visit by slot
    for now in range(2000):
        clock.pace = paces[now % len(paces)]
        while waiting and waiting[0][1][1] <= now and len(active) < SLOTS:
            visit, (question, _, _) = waiting.pop(0)
            slot = next(slot for slot in range(SLOTS) if slot not in active)
            active[slot] = visit
            model.admit(slot, prompt(question))
        slots = sorted(active)
        for slot, chunk in zip(slots, model.step(slots), strict=True):
            visit = active[slot]
            if chunk is not None:
                chunks[visit].append(chunk)
            if chunk is None or len(chunks[visit]) > 40 + visits[visit][2]:
                complete |= {visit} if chunk is None else set()
                model.evict(slot)
                del active[slot]
        if not waiting and not active:
            break
    assert not waiting
    assert not active
    for visit, (question, _, _) in enumerate(visits):
        heard, right = join(chunks[visit]), alone[question]
        samples = right.samples if visit in complete else right.samples[: len(heard.samples)]
        np.testing.assert_allclose(heard.samples, samples, atol=1e-4)
        if visit in complete:
            assert (heard.text, heard.user_text) == (right.text, right.user_text)
        assert right.text.startswith(heard.text)


def test_a_newcomer_does_not_take_what_a_listener_lives_on(tiny: Checkpoint) -> None:
    """A step takes 40 ms here, and hearing somebody 500: it waits until the first one has as much."""

    clock = Clock()
    model = start(tiny, clock, Options(slots=2, max_reply=5.0))
    clock.pace = 0.0
    model.speed = 2.0
    listen = model._runtime.encode

    def encode(*arguments: object) -> object:
        clock.now += 0.5
        return listen(*arguments)  # type: ignore[arg-type]

    model._runtime.encode = encode  # type: ignore[assignment, method-assign]
    model.admit(0, prompt(1))
    played, heard_at, first, second = 0.0, [], None, None
    for step in range(400):
        if step == 20:
            model.admit(1, prompt(2))
        clock.now += 0.04
        chunks = model.step([0, 1] if step >= 20 else [0])
        if chunks[0] is None:
            break
        if chunks[0].audio:
            first = clock.now if first is None else first
            assert first + played + 0.1 >= clock.now, "a hole in the first one's reply"
            played += chunks[0].audio.duration
        if len(chunks) > 1 and chunks[1] and chunks[1].audio and second is None:
            second = clock.now
        heard_at.append(clock.now)
    assert second is not None, "the second one was not answered while the first was"


def test_a_slow_machine_holds_a_reply_back_until_it_can_be_heard_without_a_hole(
    tiny: Checkpoint,
) -> None:
    clock = Clock()
    model = start(tiny, clock, Options(slots=3, max_reply=4.0))
    clock.pace = 0.0
    model.speed = 2048 / REPLY_RATE / 0.2  # a step takes 200 ms, and a frame lasts 85
    model.admit(0, prompt(1))
    left: float | None = None
    while True:
        clock.now += 0.2
        left = None if left is None else left - 0.2
        [chunk] = model.step([0])
        if chunk is None:
            break
        if chunk.audio:
            assert left is None or left > -0.2, "a hole"
            left = (left or 0.0) + chunk.audio.duration
    assert left is not None


def test_who_has_said_all_waits_for_no_newcomer(model: MiniOmni, clock: Clock) -> None:
    """Its slot is held for the user's words alone, and somebody else comes at every step."""
    clock.pace = 0.0001
    model.admit(0, prompt(1))
    for _ in range(300):
        model.admit(1, prompt(2))
        [chunk, _] = model.step([0, 1])
        model.evict(1)
        if chunk is None:
            break
    else:
        raise AssertionError("the first reply has no end")
    model.evict(0)


@pytest.fixture
def encoded(model: MiniOmni, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many features were asked for, each time that the encoder began."""
    counts: list[int] = []
    encode = model._runtime.encode

    def counting(mels: Sequence[Floats], frames: Sequence[int]) -> object:
        counts.extend(frames)
        return encode(mels, frames)

    monkeypatch.setattr(model._runtime, "encode", counting)
    return counts


def test_a_reply_takes_up_what_was_heard_in_the_pause(
    model: MiniOmni, alone: list[Heard], encoded: list[int]
) -> None:
    model.overhear(SLOTS, overheard(2))
    assert hear_all(model, SLOTS) <= 2
    heard = answer(model, overheard(2, more=0.4))
    # The silence that came on top changes nothing.
    np.testing.assert_allclose(heard.samples, alone[2].samples, atol=1e-4)
    assert (heard.text, heard.user_text) == (alone[2].text, alone[2].user_text)
    assert len(encoded) == 1


def test_a_reply_goes_on_with_what_the_encoder_is_in_the_middle_of(
    model: MiniOmni, alone: list[Heard], encoded: list[int], pieces: list[int]
) -> None:
    model.overhear(SLOTS, overheard(2))
    assert model.step([SLOTS]) == [ReplyChunk()]
    model.admit(0, overheard(2, more=0.4))
    model.step([0, SLOTS])
    model.evict(SLOTS)
    chunks: list[ReplyChunk] = []
    while (chunk := model.step([0])[0]) is not None:
        chunks.append(chunk)
    model.evict(0)
    np.testing.assert_allclose(join(chunks).samples, alone[2].samples, atol=1e-4)
    assert pieces == [0, 1, 2, 3, 4]
    assert len(encoded) == 1


@pytest.mark.parametrize(
    "question",
    [overheard(3, pause=2), overheard(3, listener="somebody else"), overheard(3, pause=0)],
)
def test_what_was_heard_in_another_pause_is_not_taken_for_the_question(
    model: MiniOmni, alone: list[Heard], encoded: list[int], question: Prompt
) -> None:
    model.overhear(SLOTS, overheard(2, pause=question.pause and 1))
    hear_all(model, SLOTS)
    heard = answer(model, question)
    np.testing.assert_allclose(heard.samples, alone[3].samples, atol=1e-4)
    assert len(encoded) == 2


@pytest.fixture
def pieces(model: MiniOmni, encoded: list[int], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The pieces that the encoder has computed, 5 before it has anything to give."""
    computed: list[int] = []
    encode = model._runtime.encode

    def slow(mels: Sequence[Floats], frames: Sequence[int]) -> Generator[None, None, list[Floats]]:
        for piece in range(5):
            computed.append(piece)
            yield
        return (yield from encode(mels, frames))

    monkeypatch.setattr(model._runtime, "encode", slow)
    return computed


@pytest.mark.parametrize(
    ("reserve", "lengths"),
    [
        (float("inf"), [83]),  # nobody listens
        (0.3, [83]),  # 0.2 s is time for two pieces of 64
        (0.15, [64, 19]),
    ],
)
def test_of_a_question_as_much_is_read_at_once_as_listeners_can_wait_for(
    model: MiniOmni, monkeypatch: pytest.MonkeyPatch, reserve: float, lengths: list[int]
) -> None:
    asked: list[int] = []
    tokens = model._runtime.tokens

    def counting(spans: Sequence[Span]) -> object:
        asked.extend(span.length for span in spans)
        return tokens(spans)

    monkeypatch.setattr(model._runtime, "tokens", counting)
    monkeypatch.setattr(model, "_least_reserve", lambda _: reserve)
    monkeypatch.setitem(model._costs, Stage.READING, 0.05)
    monkeypatch.setitem(model._costs, Stage.HEARING, 0.0)
    model.admit(0, prompt(3))
    while len(asked) < len(lengths):
        model.step([0])
        model._costs[Stage.READING] = 0.05
    model.evict(0)
    assert asked == lengths


def test_who_goes_on_in_the_middle_of_the_encoder_ten_times_is_heard_at_last(
    model: MiniOmni, alone: list[Heard], encoded: list[int], pieces: list[int]
) -> None:
    for pause in range(1, 11):
        model.overhear(SLOTS, overheard(1, pause=pause))
        for _ in range(3):
            assert model.step([SLOTS]) == [ReplyChunk()]
        model.evict(SLOTS)  # and no piece is computed any more
        assert model.step([]) == []
    assert pieces == [0, 1, 2] * 10
    model.overhear(SLOTS, overheard(1, pause=11))
    hear_all(model, SLOTS)
    heard = answer(model, overheard(1, pause=11, more=1.0))
    np.testing.assert_allclose(heard.samples, alone[1].samples, atol=1e-4)
    assert len(encoded) == 1


def test_users_who_pause_at_once_are_all_heard(
    model: MiniOmni, alone: list[Heard], encoded: list[int]
) -> None:
    for user in range(SLOTS):
        model.overhear(SLOTS + user, overheard(user, listener=f"user {user}"))
    hear_all(model, *range(SLOTS, 2 * SLOTS))
    for user in range(SLOTS):
        heard = answer(model, overheard(user, listener=f"user {user}", more=0.2))
        np.testing.assert_allclose(heard.samples, alone[user].samples, atol=1e-4)
    assert len(encoded) == SLOTS


def test_who_was_overheard_and_is_gone_leaves_no_more_than_there_is_room_for(
    model: MiniOmni,
) -> None:
    for user in range(200):
        model.overhear(SLOTS, overheard(0, listener=f"user {user}"))
        model.evict(SLOTS)
    assert len(model._overheard) == 2 * SLOTS
    model._overheard.clear()


def test_samples_that_are_no_numbers_are_refused(model: MiniOmni) -> None:
    broken = Prompt(AudioChunk(np.full(1600, np.nan, np.float32), INPUT_RATE))
    with pytest.raises(InvalidAudio, match="not numbers"):
        model.admit(0, broken)
    with pytest.raises(InvalidAudio, match="not numbers"):
        model.overhear(SLOTS, broken)


@pytest.mark.parametrize("seconds", [0.0, 0.01, 31.0, 300.0])
def test_utterances_of_any_length_are_answered(model: MiniOmni, seconds: float) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, round(seconds * INPUT_RATE))
    heard = answer(model, Prompt(AudioChunk(samples.astype(np.float32), INPUT_RATE)))
    assert len(heard.samples) == 8 * 2048


def test_of_silence_nothing_is_written_down(model: MiniOmni) -> None:
    silent = Prompt(AudioChunk(np.zeros(INPUT_RATE, np.float32), INPUT_RATE))
    assert answer(model, silent).user_text == ""


def test_the_speed_is_told_in_one_line() -> None:
    assert describe(2.0) == "23.4 frames a second, of the 11.7 that real time takes"
    assert "too slow" in describe(0.5)
