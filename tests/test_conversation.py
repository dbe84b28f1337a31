"""The table of taking turns, over every (state, event) pair and over random histories."""

import itertools
from collections.abc import Iterator
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.audio import INPUT_RATE, silence
from duologue.conversation import TRANSITIONS, Action, Conversation, Event, State
from duologue.events import (
    ClearRequested,
    CommitRequested,
    LimitNear,
    ReplyAudible,
    ReplyCancelled,
    ReplyDue,
    ReplyEvent,
    ReplyGenerated,
    ReplyHeard,
    ReplyRequested,
    SpeechDenied,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechSuspected,
    TurnEnded,
)

SOUND = silence(1, INPUT_RATE)
STARTED, PAUSED, RESUMED = SpeechStarted(0.0), SpeechPaused(1, SOUND, 1.0), SpeechResumed(1.0)
DUE, ENDED = ReplyDue(SOUND), TurnEnded(SOUND, 1.0)
SUSPECTED, DENIED = SpeechSuspected(1.0), SpeechDenied(1.0)

PATHS: dict[State, list[Event]] = {
    State.LISTENING: [],
    State.HEARING: [STARTED],
    State.PAUSED: [STARTED, PAUSED],
    State.THINKING: [STARTED, PAUSED, DUE],
    State.SPEAKING: [STARTED, PAUSED, DUE, ENDED, ReplyAudible(1)],
    State.DUCKED: [STARTED, PAUSED, DUE, ENDED, ReplyAudible(1), SUSPECTED],
}


def reach(state: State) -> Conversation:
    """A conversation in its first turn that is in this state."""
    conversation = Conversation()
    for event in PATHS[state]:
        conversation.receive(event)
    assert conversation.state is state
    return conversation


def make(kind: type[Event], number: int) -> Event:
    """An event of this kind; one about a reply is about reply `number`."""
    made: tuple[Event, ...] = (
        *(STARTED, PAUSED, RESUMED, DUE, ENDED, SUSPECTED, DENIED, LimitNear(1.0, 5.0)),
        *(ReplyAudible(number), ReplyGenerated(number), ReplyHeard(number)),
        *(ReplyRequested(), ReplyCancelled(), ClearRequested(), CommitRequested()),
    )
    return next(event for event in made if type(event) is kind)


EVERY_EVENT = get_args(Event)

Actions = tuple[Action, ...]

L, H, P, T, S, D = State
STOP, DROP, BEGIN, COMMIT = (
    *(Action.STOP_REPLY, Action.DROP_REPLY, Action.BEGIN_TURN, Action.COMMIT_TURN),
)
START, LET_OUT = Action.START_REPLY, Action.LET_OUT

EXPECTED = {
    (L, SpeechStarted): (H, [BEGIN]),
    (L, CommitRequested): (L, [BEGIN, COMMIT]),
    (L, ReplyRequested): (T, [START, LET_OUT]),
    (H, SpeechPaused): (P, [Action.ASK]),
    (H, TurnEnded): (T, [START, LET_OUT]),
    (H, CommitRequested): (L, [COMMIT]),
    (H, ClearRequested): (L, [Action.DROP_TURN]),
    (H, ReplyRequested): (H, [Action.REFUSE]),
    (P, SpeechResumed): (H, []),
    (P, ReplyDue): (T, [START]),
    (P, TurnEnded): (T, [START, LET_OUT]),
    (P, CommitRequested): (L, [COMMIT]),
    (P, ClearRequested): (L, [Action.DROP_TURN]),
    (P, ReplyRequested): (P, [Action.REFUSE]),
    (T, SpeechStarted): (H, [STOP, BEGIN]),
    (T, SpeechResumed): (H, [DROP]),
    (T, TurnEnded): (T, [LET_OUT]),
    (T, CommitRequested): (L, [STOP, BEGIN, COMMIT]),
    (T, ClearRequested): (L, [DROP, Action.DROP_TURN]),
    (T, ReplyRequested): (T, [Action.REFUSE]),
    (T, ReplyCancelled): (L, [COMMIT, STOP]),
    (T, ReplyAudible): (S, []),
    (T, ReplyGenerated): (L, []),
    (S, SpeechSuspected): (D, [Action.DUCK]),
    (S, CommitRequested): (L, [STOP, BEGIN, COMMIT]),
    (S, ReplyRequested): (S, [Action.REFUSE]),
    (S, ReplyCancelled): (L, [STOP]),
    (S, ReplyHeard): (L, []),
    (D, SpeechDenied): (S, [Action.RESTORE]),
    (D, SpeechStarted): (H, [STOP, BEGIN]),
    (D, SpeechResumed): (H, [STOP, Action.REOPEN_TURN]),
    (D, CommitRequested): (L, [STOP, BEGIN, COMMIT]),
    (D, ClearRequested): (S, [Action.RESTORE]),
    (D, ReplyRequested): (D, [Action.REFUSE]),
    (D, ReplyCancelled): (L, [STOP]),
    (D, ReplyHeard): (L, [Action.RESTORE]),
    (L, LimitNear): (L, [Action.WARN]),
    (H, LimitNear): (H, [Action.WARN]),
    (P, LimitNear): (P, [Action.WARN]),
    (T, LimitNear): (T, [Action.WARN]),
    (S, LimitNear): (S, [Action.WARN]),
    (D, LimitNear): (D, [Action.WARN]),
}
"""All that changes or does something. Every other possible pair leaves the state, and does nothing."""

IMPOSSIBLE = {
    # What the detector never says: that speech begins, pauses or goes on where it already has, ...
    *((state, SpeechStarted) for state in (H, P, S)),
    *((state, SpeechPaused) for state in (L, P, T, S, D)),
    *((state, SpeechResumed) for state in (L, H, S)),
    # ... that a reply is due twice, or to nobody, ...
    *((state, ReplyDue) for state in (L, H, T, S, D)),
    *((state, TurnEnded) for state in (L, S, D)),
    # ... and that somebody may be interrupting when nothing is heard.
    *((state, SpeechSuspected) for state in (L, H, P, T, D)),
    *((state, SpeechDenied) for state in (L, H, P, T, S)),
    (T, ReplyHeard),  # nothing sounded yet
    *((state, ReplyAudible) for state in (S, D)),  # the first sound comes once
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


HISTORIES = st.lists(
    st.tuples(st.sampled_from(EVERY_EVENT), st.sampled_from([0, 0, 0, 1, 2])), max_size=80
)
"""What happens, and how many replies ago it was meant for."""


def replay(history: list[tuple[type[Event], int]]) -> Iterator[tuple[Conversation, Event, Actions]]:
    """What is done in this history, event by event; what a detector would not say is left out."""
    conversation = Conversation()
    can_go_on = False  # the detector's utterance is open
    for kind, age in history:
        before = conversation.state
        if (before, kind) in IMPOSSIBLE:
            continue
        # Speech goes on with what is open, and begins what is not; or, in DUCKED, no longer is.
        begins = not can_go_on or before is D
        if (kind is SpeechStarted and not begins) or (kind is SpeechResumed and not can_go_on):
            continue
        if kind is TurnEnded and not can_go_on:
            continue
        if before is T and kind is ClearRequested and not can_go_on:  # the session's own rule
            continue
        event = make(kind, conversation.number - age)
        actions = conversation.receive(event)
        if kind is SpeechStarted:
            can_go_on = True
        if conversation.state is L or COMMIT in actions:
            can_go_on = False
        yield conversation, event, actions


@given(HISTORIES)
def test_there_are_never_two_replies_at_once_nor_one_after_a_stop(
    history: list[tuple[type[Event], int]],
) -> None:
    replying = False
    for conversation, _, actions in replay(history):
        for action in actions:
            if action is START:
                assert not replying
                replying = True
            elif action in (STOP, DROP):
                assert replying
                replying = False
        if conversation.state is L:
            replying = False  # generated without a sound, or heard to its end
        assert replying == (conversation.state in (T, S, D))


@given(HISTORIES)
def test_what_is_ducked_is_restored_or_stopped(
    history: list[tuple[type[Event], int]],
) -> None:
    ducked = False
    for conversation, _, actions in replay(history):
        for action in actions:
            if action in (START, DROP, STOP):
                ducked = False
            elif action is Action.DUCK:
                assert not ducked
                ducked = True
            elif action is Action.RESTORE:
                assert ducked
                ducked = False
        assert ducked == (conversation.state is D)


@given(HISTORIES)
def test_every_utterance_is_in_exactly_one_turn(history: list[tuple[type[Event], int]]) -> None:
    # The first sound of a reply makes its turn a part of the conversation; the session does that.
    turn, ends = 0, dict[int, int]()
    for _, event, actions in replay(history):
        for action in actions:
            if action in (BEGIN, Action.REOPEN_TURN):
                turn += 1
            if action is BEGIN:
                assert isinstance(event, SpeechStarted | CommitRequested)
            if action is Action.REOPEN_TURN:  # its utterance is the last one's, which is withdrawn
                ends.pop(turn - 1, None)
            if action is COMMIT or action is Action.DROP_TURN:
                ends[turn] = ends.get(turn, 0) + (not isinstance(event, ReplyCancelled))
        if isinstance(event, SpeechResumed) and Action.REOPEN_TURN not in actions:
            assert BEGIN not in actions
        assert max(ends.values(), default=0) <= 1
