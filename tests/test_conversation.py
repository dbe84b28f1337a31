"""The table of taking turns, over every (state, event) pair and over random histories."""

import itertools
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.audio import INPUT_RATE, silence
from duologue.conversation import TRANSITIONS, Action, Conversation, Event, State
from duologue.events import (
    ClearRequested,
    ReplyAudible,
    ReplyCancelled,
    ReplyEvent,
    ReplyGenerated,
    ReplyHeard,
    ReplyRequested,
    SpeechStarted,
    TurnEnded,
)

ENDED = TurnEnded(silence(1, INPUT_RATE), at=1.0)
STARTED = SpeechStarted(at=0.0)


def reach(state: State) -> Conversation:
    """A conversation in its first turn that is in this state."""
    path: dict[State, list[Event]] = {
        State.LISTENING: [],
        State.HEARING: [STARTED],
        State.THINKING: [STARTED, ENDED, ReplyRequested()],
        State.SPEAKING: [STARTED, ENDED, ReplyRequested(), ReplyAudible(1)],
    }
    conversation = Conversation()
    for event in path[state]:
        conversation.receive(event)
    assert conversation.state is state
    return conversation


def make(kind: type[Event], number: int) -> Event:
    """An event of this kind; one about a reply is about that to turn `number`."""
    made: tuple[Event, ...] = (
        STARTED,
        ENDED,
        ReplyAudible(number),
        ReplyGenerated(number),
        ReplyHeard(number),
        ReplyRequested(),
        ReplyCancelled(),
        ClearRequested(),
    )
    return next(event for event in made if type(event) is kind)


EVERY_EVENT = get_args(Event)

EXPECTED = {
    (State.LISTENING, SpeechStarted): (State.HEARING, [Action.BEGIN_TURN]),
    (State.LISTENING, TurnEnded): (State.LISTENING, [Action.BEGIN_TURN, Action.COMMIT_TURN]),
    (State.LISTENING, ReplyRequested): (State.THINKING, [Action.START_REPLY]),
    (State.HEARING, TurnEnded): (State.LISTENING, [Action.COMMIT_TURN]),
    (State.HEARING, ClearRequested): (State.LISTENING, [Action.DROP_TURN]),
    (State.HEARING, ReplyRequested): (State.HEARING, [Action.REFUSE]),
    (State.THINKING, SpeechStarted): (State.HEARING, [Action.STOP_REPLY, Action.BEGIN_TURN]),
    (State.THINKING, TurnEnded): (
        State.LISTENING,
        [Action.STOP_REPLY, Action.BEGIN_TURN, Action.COMMIT_TURN],
    ),
    (State.THINKING, ReplyRequested): (State.THINKING, [Action.REFUSE]),
    (State.THINKING, ReplyCancelled): (State.LISTENING, [Action.STOP_REPLY]),
    (State.THINKING, ReplyAudible): (State.SPEAKING, []),
    (State.THINKING, ReplyGenerated): (State.LISTENING, []),
    (State.SPEAKING, SpeechStarted): (State.HEARING, [Action.STOP_REPLY, Action.BEGIN_TURN]),
    (State.SPEAKING, TurnEnded): (
        State.LISTENING,
        [Action.STOP_REPLY, Action.BEGIN_TURN, Action.COMMIT_TURN],
    ),
    (State.SPEAKING, ReplyRequested): (State.SPEAKING, [Action.REFUSE]),
    (State.SPEAKING, ReplyCancelled): (State.LISTENING, [Action.STOP_REPLY]),
    (State.SPEAKING, ReplyHeard): (State.LISTENING, []),
}
"""All that changes or does something. Every other pair leaves the state as it is, and does nothing."""

IMPOSSIBLE = {
    (State.HEARING, SpeechStarted),  # the detector has begun already
    (State.THINKING, ReplyHeard),  # nothing sounded yet
    (State.SPEAKING, ReplyAudible),  # the first sound comes once
}


@pytest.mark.parametrize(("state", "kind"), [*itertools.product(State, EVERY_EVENT)])
def test_every_event_in_every_state(state: State, kind: type[Event]) -> None:
    conversation = reach(state)
    event = make(kind, conversation.number)
    if (state, kind) in IMPOSSIBLE:
        with pytest.raises(KeyError):
            conversation.receive(event)
        return
    actions = conversation.receive(event)
    assert (conversation.state, list(actions)) == EXPECTED.get((state, kind), (state, []))


def test_the_table_names_no_pair_that_cannot_happen() -> None:
    assert not IMPOSSIBLE & set(TRANSITIONS)


@pytest.mark.parametrize("kind", get_args(ReplyEvent))
@pytest.mark.parametrize("state", State)
def test_a_late_event_of_an_old_reply_changes_nothing(state: State, kind: type[ReplyEvent]) -> None:
    conversation = reach(state)
    assert conversation.receive(kind(conversation.number - 1)) == ()
    assert conversation.state is state


@given(st.lists(st.tuples(st.sampled_from(EVERY_EVENT), st.integers(0, 2)), max_size=60))
def test_there_are_never_two_replies_at_once_nor_one_after_a_stop(
    history: list[tuple[type[Event], int]],
) -> None:
    conversation = Conversation()
    replying = False
    for kind, age in history:
        if (conversation.state, kind) in IMPOSSIBLE:
            continue
        for action in conversation.receive(make(kind, conversation.number - age)):
            if action is Action.START_REPLY:
                assert not replying
                replying = True
            elif action is Action.STOP_REPLY:
                assert replying
                replying = False
        if conversation.state is State.LISTENING:
            replying = False  # generated without a sound, or heard to its end
        assert replying == (conversation.state in (State.THINKING, State.SPEAKING))


@given(st.lists(st.sampled_from(EVERY_EVENT), max_size=60))
def test_every_utterance_is_in_exactly_one_turn(history: list[type[Event]]) -> None:
    conversation = Conversation()
    committed: set[int] = set()
    for kind in history:
        if (conversation.state, kind) in IMPOSSIBLE:
            continue
        actions = conversation.receive(make(kind, conversation.number))
        if Action.COMMIT_TURN in actions:
            assert conversation.number not in committed
            committed.add(conversation.number)
        assert (Action.COMMIT_TURN in actions) == (kind is TurnEnded)
