"""The table of taking turns, over every (state, event) pair. Random sessions: test_random_sessions.py."""

import itertools
from typing import get_args

import pytest

import diagram
from duologue.audio import INPUT_RATE, silence
from duologue.conversation.events import (
    ClearRequested,
    ClientLeft,
    CommitRequested,
    ReplyCancelled,
    ReplyRequested,
)
from duologue.conversation.floor import (
    TRANSITIONS,
    Action,
    Event,
    Floor,
    ImpossibleEvent,
    ReplyGenerated,
    ReplyPlayed,
    ReplySounds,
    State,
    TurnSealed,
    UserPauses,
    UserSpeaks,
)
from duologue.turns.events import (
    Nodded,
    ReplyDue,
    SpeechDenied,
    SpeechHeld,
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
HELD, NODDED = SpeechHeld(1.0), Nodded(1.0)

TURN: list[Event] = [STARTED, PAUSED, DUE, ENDED]
PATHS: dict[State, list[Event]] = {
    State.LISTENING: [],
    State.HEARING: TURN[:1],
    State.PAUSED: TURN[:2],
    State.EARLY: TURN[:3],
    State.AWAITED: TURN,
    State.THINKING: [*TURN, TurnSealed()],
    State.SPEAKING: [*TURN, TurnSealed(), ReplySounds()],
    State.DUCKED: [*TURN, TurnSealed(), ReplySounds(), SUSPECTED],
}
EVENTS: tuple[Event, ...] = (
    *(STARTED, PAUSED, RESUMED, DUE, ENDED, SUSPECTED, DENIED, HELD, NODDED),
    *(ReplyRequested(), ReplyCancelled(), ClearRequested(), CommitRequested(), ClientLeft()),
    *(UserSpeaks(), UserPauses()),
    *(TurnSealed(), ReplySounds(), ReplyGenerated(), ReplyPlayed()),
)

L, H, P, E, A, T, S, D = State
BEGIN, CONTINUE, COMMIT = Action.BEGIN_TURN, Action.CONTINUE_TURN, Action.COMMIT_TURN
FORGET, KEEP, END, REOPEN = (
    *(Action.FORGET_TURN, Action.KEEP_TURN, Action.END_TURN, Action.REOPEN_TURN),
)
START, REQUEST, ANNOUNCE = Action.START_REPLY, Action.REQUEST_REPLY, Action.ANNOUNCE_REPLY
DROP, STOP = Action.DROP_REPLY, Action.STOP_REPLY
FINISH, CLOSE = Action.FINISH_REPLY, Action.CLOSE_REPLY
ASK, DUCK, RESTORE = Action.ASK_END_OF_TURN, Action.DUCK, Action.RESTORE
HOLD = Action.HOLD

EXPECTED: dict[tuple[State, type[Event]], tuple[State, list[Action]]] = {
    (L, SpeechStarted): (H, [DROP, BEGIN]),
    (L, CommitRequested): (L, [DROP, BEGIN, COMMIT]),
    (L, ReplyRequested): (T, [REQUEST, ANNOUNCE]),
    (L, ClientLeft): (L, [DROP]),
    (L, UserSpeaks): (H, []),
    (L, UserPauses): (P, []),
    **{(state, UserSpeaks): (H, [STOP]) for state in (T, S)},
    **{(state, UserPauses): (P, [STOP]) for state in (T, S)},
    (H, ReplyRequested): (T, [REQUEST, ANNOUNCE]),
    (P, ReplyRequested): (T, [REQUEST, ANNOUNCE]),
    (E, ReplyRequested): (T, [DROP, REQUEST, ANNOUNCE]),
    (H, SpeechPaused): (P, [ASK]),
    (H, TurnEnded): (A, [START, END]),
    (H, CommitRequested): (L, [COMMIT]),
    (H, ClearRequested): (L, [FORGET]),
    (H, ClientLeft): (L, [KEEP]),
    (P, SpeechResumed): (H, []),
    (P, ReplyDue): (E, [START]),
    (P, TurnEnded): (A, [START, END]),
    (P, CommitRequested): (L, [COMMIT]),
    (P, ClearRequested): (L, [FORGET]),
    (P, ClientLeft): (L, [KEEP]),
    (E, SpeechResumed): (H, [DROP]),
    (E, TurnEnded): (A, [END]),
    (E, CommitRequested): (L, [COMMIT]),
    (E, ClearRequested): (L, [DROP, FORGET]),
    (E, ClientLeft): (L, [DROP, KEEP]),
    (A, SpeechResumed): (H, [DROP, REOPEN]),
    (A, TurnSealed): (T, [COMMIT, ANNOUNCE]),
    (A, ClearRequested): (L, [DROP, FORGET]),
    (A, ReplyCancelled): (L, [COMMIT, ANNOUNCE, STOP]),
    (A, ClientLeft): (L, [DROP, KEEP]),
    (A, ReplySounds): (S, [COMMIT, ANNOUNCE]),
    (A, ReplyGenerated): (L, [COMMIT, ANNOUNCE, FINISH, CLOSE]),
    (T, SpeechStarted): (H, [STOP, BEGIN]),
    (T, CommitRequested): (L, [STOP, BEGIN, COMMIT]),
    (T, ReplyCancelled): (L, [STOP]),
    (T, ClientLeft): (L, [STOP]),
    (T, ReplySounds): (S, []),
    (T, ReplyGenerated): (L, [FINISH, CLOSE]),
    (S, SpeechSuspected): (D, [DUCK]),
    (S, ReplyRequested): (S, [REQUEST, ANNOUNCE]),
    (D, ReplyRequested): (D, [REQUEST, ANNOUNCE]),
    (S, CommitRequested): (L, [STOP, BEGIN, COMMIT]),
    (S, ReplyCancelled): (L, [STOP]),
    (S, ClientLeft): (L, [STOP]),
    (S, ReplyGenerated): (S, [FINISH]),
    (S, ReplyPlayed): (L, [CLOSE]),
    (D, SpeechDenied): (S, [RESTORE]),
    (D, SpeechHeld): (D, [HOLD]),
    (D, Nodded): (S, [RESTORE]),
    (D, SpeechStarted): (H, [STOP, BEGIN]),
    (D, SpeechResumed): (H, [STOP, CONTINUE]),
    (D, ClearRequested): (S, [RESTORE]),
    (D, ReplyCancelled): (L, [STOP]),
    (D, ClientLeft): (L, [STOP]),
    (D, ReplyGenerated): (D, [FINISH]),
    (D, ReplyPlayed): (L, [RESTORE, CLOSE]),
}
"""All that changes or does something. Every other possible pair leaves the state, and does nothing."""

IMPOSSIBLE = {
    # What the detector never says: that speech begins, pauses or goes on where it already has, ...
    *((state, SpeechStarted) for state in (H, P, E, A, S)),
    *((state, SpeechPaused) for state in (L, P, E, A, T, S, D)),
    *((state, SpeechResumed) for state in (L, H, T, S)),
    # ... that a reply is due twice, or to nobody, ...
    *((state, ReplyDue) for state in (L, H, E, A, T, S, D)),
    *((state, TurnEnded) for state in (L, A, T, S, D)),
    # ... and that somebody may be interrupting when nothing sounds.
    *((state, SpeechSuspected) for state in (L, H, P, E, A, T, D)),
    *(
        (state, kind)
        for kind in (SpeechDenied, SpeechHeld, Nodded)
        for state in (L, H, P, E, A, T, S)
    ),
    # What the dialogue takes for something else, or refuses.
    *((state, CommitRequested) for state in (A, D)),
    *((state, ReplyRequested) for state in (A, T)),
    # What becomes of a reply, where there is none that the client may know of, or it is done.
    *((state, kind) for kind in (UserSpeaks, UserPauses) for state in (H, P, E, A, D)),
    *((state, ReplyCancelled) for state in (L, H, P, E)),
    *((state, TurnSealed) for state in (L, H, P, E, T, S, D)),
    *((state, ReplySounds) for state in (L, H, P, E, S, D)),
    *((state, ReplyGenerated) for state in (L, H, P, E)),
    *((state, ReplyPlayed) for state in (L, H, P, E, A, T)),
}


def reach(state: State) -> Floor:
    """A floor in this state, in its first turn."""
    floor = Floor()
    for event in PATHS[state]:
        floor.receive(event)
    assert floor.state is state
    return floor


@pytest.mark.parametrize(("state", "event"), [*itertools.product(State, EVENTS)])
def test_every_event_in_every_state(state: State, event: Event) -> None:
    floor, kind = reach(state), type(event)
    if (state, kind) in IMPOSSIBLE:
        with pytest.raises(ImpossibleEvent, match=f"{kind.__name__} cannot come in {state.name}: "):
            floor.receive(event)
        assert floor.state is state
        return
    actions = floor.receive(event)
    assert (floor.state, list(actions)) == EXPECTED.get((state, kind), (state, []))


def test_the_pairs_are_all_there_are() -> None:
    assert {type(event) for event in EVENTS} == {*get_args(Event)}
    assert not IMPOSSIBLE & TRANSITIONS.keys()
    assert TRANSITIONS.keys() | IMPOSSIBLE == {*itertools.product(State, get_args(Event))}


def test_the_drawing_in_the_documents_is_of_this_table() -> None:
    document = diagram.DOCUMENT.read_text("utf-8")
    assert document == diagram.drawn(document), "draw it anew: python tests/diagram.py"
