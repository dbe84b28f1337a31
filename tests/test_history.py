"""Turns kept in memory: whose they are, and how many."""

from duologue.audio import INPUT_RATE, silence
from duologue.history import History
from duologue.model import Turn


def turn(name: str, seconds: float = 1.0) -> Turn:
    return Turn(name, silence(seconds, INPUT_RATE))


def test_a_conversation_goes_on_where_it_was() -> None:
    history = History()
    history.conversation("ann", "monday").save(turn("t1"))
    assert [kept.id for kept in history.conversation("ann", "monday").turns()] == ["t1"]
    assert history.conversation("ann", "tuesday").turns() == []


def test_nobody_gets_what_is_anothers() -> None:
    history = History()
    history.conversation("ann", "monday").save(turn("t1"))
    assert history.conversation("bob", "monday").turns() == []
    assert history.turn("bob", "t1") is None
    assert history.turn("ann", "t1") is not None
    assert history.turn("ann", "t2") is None


def test_the_oldest_recordings_make_room_for_the_newest() -> None:
    history = History(seconds=10)
    record = history.conversation("ann", "monday")
    for number in range(100):
        record.save(turn(f"t{number}", seconds=3))
    assert [kept.id for kept in record.turns()] == ["t97", "t98", "t99"]
    assert history.turn("ann", "t0") is None


def test_saving_a_turn_again_keeps_it_once() -> None:
    history = History()
    record, same = history.conversation("ann", "monday"), turn("t1")
    record.save(same)
    record.save(same)
    assert len(record.turns()) == 1
