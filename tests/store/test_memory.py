"""Turns kept in memory: whose they are, how many, and the figures that stay when they go."""

from contextlib import closing

import pytest

from duologue.audio import INPUT_RATE, REPLY_RATE, silence
from duologue.conversation.items import Item, ReplyChunk, Turn
from duologue.store.figures import TurnLog
from duologue.store.memory import ConversationRecord, History


def said(name: str, seconds: float = 1.0) -> Item:
    return Item(f"item_u{name}", sound=silence(seconds, INPUT_RATE))


def ids(record: ConversationRecord) -> list[str]:
    return [item.turn_id for item in record.conversation]


def test_a_conversation_goes_on_where_it_was() -> None:
    history = History()
    history.conversation("ann", "monday").save(said("t1"))
    assert ids(history.conversation("ann", "monday")) == ["t1"]
    assert ids(history.conversation("ann", "tuesday")) == []


def test_nobody_gets_what_is_anothers() -> None:
    history = History()
    history.conversation("ann", "monday").save(said("t1"))
    assert ids(history.conversation("bob", "monday")) == []
    assert history.turn("bob", "t1") is None
    assert history.turn("ann", "t1") is not None
    assert history.turn("ann", "t2") is None


def test_the_oldest_recordings_make_room_for_the_newest() -> None:
    history = History(seconds=10)
    record = history.conversation("ann", "monday")
    for number in range(100):
        record.save(said(f"t{number}", seconds=3))
    assert ids(record) == ["t97", "t98", "t99"]
    assert history.turn("ann", "t0") is None


def test_saving_a_turn_again_keeps_it_once() -> None:
    history = History()
    record, same = history.conversation("ann", "monday"), said("t1")
    record.save(same)
    record.save(same)
    assert len(record.conversation) == 1


def test_of_items_without_any_sound_the_newest_4000_are_kept() -> None:
    history = History(seconds=10)
    record = history.conversation("ann", "monday")
    for number in range(4010):
        record.save(said(f"t{number}", seconds=0))
    assert len(record.conversation) == 4000
    assert ids(record)[0] == "t10"


def test_saving_a_turn_looks_at_no_other_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []

    def spy(item: Item) -> float:
        looked.append(item.turn_id)
        return 1.0

    monkeypatch.setattr("duologue.store.memory._duration", spy)
    history = History()
    record = history.conversation("ann", "monday")
    for number in range(100):
        record.save(said(f"t{number}"))
    assert looked == [f"t{number}" for number in range(100)]


def test_the_seconds_are_those_of_the_turns_that_are_kept() -> None:
    history = History(seconds=10)
    record = history.conversation("ann", "monday")
    first = said("t0", seconds=4)
    record.save(first)
    first.spoken.append(ReplyChunk(silence(2, REPLY_RATE)))
    record.save(first)
    assert history.seconds == pytest.approx(6)
    first.truncate(0.5)
    record.save(first)
    assert history.seconds == pytest.approx(4.5)
    for number in range(1, 20):
        record.save(said(f"t{number}", seconds=3))
    assert history.seconds == pytest.approx(9)
    for kept in list(record.conversation):
        record.forget(kept)
        record.forget(kept)
    assert history.seconds == pytest.approx(0)


def test_a_turn_that_became_part_of_the_next_is_gone_with_its_sound() -> None:
    history = History(seconds=10)
    record = history.conversation("ann", "monday")
    first, second = said("t1", seconds=9), said("t2", seconds=9.5)
    record.save(first)
    record.forget(first)
    record.save(second)
    assert ids(record) == ["t2"], "it must not need room any more"
    assert history.turn("ann", "t1") is None
    record.forget(first)
    assert ids(record) == ["t2"]


def test_the_figures_of_a_turn_are_noted_and_outlive_it() -> None:
    with closing(TurnLog(None)) as log:
        history = History(log=log)
        record = history.conversation("ann", "monday", is_local=True)
        first = said("t1")
        record.save(first)
        first.timings.sent = 0.6
        record.note(Turn(first))
        first.timings.cut = "resumed"
        record.note(Turn(first))
        record.forget(first)
        history.conversation("bob", "monday").note(Turn(said("t2")))
        ann, bob = log.turns()
    assert (ann.id, ann.is_local, ann.timings.sent, ann.timings.cut) == ("t1", True, 0.6, "resumed")
    assert (bob.id, bob.is_local) == ("t2", False)


def test_patience_is_the_same_in_all_conversations_of_a_user() -> None:
    with closing(TurnLog(None)) as log:
        history = History(log=log)
        monday, tuesday = (history.conversation("ann", day) for day in ("monday", "tuesday"))
        assert monday.patience == 1.0
        monday.patience = 1.25
        assert tuesday.patience == 1.25
        assert history.conversation("bob", "monday").patience == 1.0


def test_without_a_log_patience_lasts_as_long_as_the_conversation() -> None:
    record = History().conversation("ann", "monday")
    record.patience = 1.25
    record.note(Turn(said("t1")))
    assert record.patience == 1.25


def test_texts_make_room_as_sound_does() -> None:
    history = History(seconds=10)
    record = history.conversation("ann", "monday")
    for number in range(100):
        record.save(Item(f"{number}", text="x" * 64_000))
    assert len(record.conversation) == 3
