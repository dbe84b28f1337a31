"""Who has the floor. Pure: events in, actions out; no sound, no clock, no tasks.

Everything about taking turns is one row of `TRANSITIONS`. PAUSED (a held-back speculative reply)
and DUCKED (a reply made quiet while it is unclear whether the user interrupts) will be two more
states, with their rows.
"""

from enum import Enum, auto

from duologue.events import (
    ClearRequested,
    DetectorEvent,
    ReplyAudible,
    ReplyCancelled,
    ReplyEvent,
    ReplyGenerated,
    ReplyHeard,
    ReplyRequested,
    SpeechStarted,
    TurnEnded,
)


class State(Enum):
    """Who has the floor."""

    LISTENING = auto()
    """Nobody."""
    HEARING = auto()
    """The user speaks."""
    THINKING = auto()
    """The model was asked; nothing is to be heard of it yet."""
    SPEAKING = auto()
    """The reply is being heard, generated to its end or not."""


class Action(Enum):
    """What the session has to do about it, in this order."""

    STOP_REPLY = auto()
    BEGIN_TURN = auto()
    DROP_TURN = auto()
    COMMIT_TURN = auto()
    START_REPLY = auto()
    REFUSE = auto()


Event = DetectorEvent | ReplyEvent | ReplyRequested | ReplyCancelled | ClearRequested

_L, _H, _T, _S = State.LISTENING, State.HEARING, State.THINKING, State.SPEAKING
_STOP, _BEGIN, _COMMIT = Action.STOP_REPLY, Action.BEGIN_TURN, Action.COMMIT_TURN
_REFUSE = (Action.REFUSE,)

TRANSITIONS: dict[tuple[State, type[Event]], tuple[State, tuple[Action, ...]]] = {
    # The user begins to speak: whatever the model is about, it stops (barge-in).
    (_L, SpeechStarted): (_H, (_BEGIN,)),
    (_T, SpeechStarted): (_H, (_STOP, _BEGIN)),
    (_S, SpeechStarted): (_H, (_STOP, _BEGIN)),
    # The user has finished. From anywhere but HEARING this is a client that commits by itself.
    (_H, TurnEnded): (_L, (_COMMIT,)),
    (_L, TurnEnded): (_L, (_BEGIN, _COMMIT)),
    (_T, TurnEnded): (_L, (_STOP, _BEGIN, _COMMIT)),
    (_S, TurnEnded): (_L, (_STOP, _BEGIN, _COMMIT)),
    # The client forgets what it has sent.
    (_H, ClearRequested): (_L, (Action.DROP_TURN,)),
    (_L, ClearRequested): (_L, ()),
    (_T, ClearRequested): (_T, ()),
    (_S, ClearRequested): (_S, ()),
    # A reply is wanted: by the client, or by the session at the end of a turn.
    (_L, ReplyRequested): (_T, (Action.START_REPLY,)),
    (_H, ReplyRequested): (_H, _REFUSE),
    (_T, ReplyRequested): (_T, _REFUSE),
    (_S, ReplyRequested): (_S, _REFUSE),
    # A reply is no longer wanted. What is not there cannot be stopped, and that is no error.
    (_T, ReplyCancelled): (_L, (_STOP,)),
    (_S, ReplyCancelled): (_L, (_STOP,)),
    (_L, ReplyCancelled): (_L, ()),
    (_H, ReplyCancelled): (_H, ()),
    # The reply goes its way. It is over when it was heard, not when it was generated: else a late
    # barge-in would find nothing to stop. One that never sounded is over at once.
    (_T, ReplyAudible): (_S, ()),
    (_T, ReplyGenerated): (_L, ()),
    (_S, ReplyGenerated): (_S, ()),
    (_S, ReplyHeard): (_L, ()),
}
"""(state, event) -> (next state, actions). A pair that is not here cannot happen."""


class Conversation:
    """The turns of one user, as a state machine.

    Attributes:
        state: who has the floor.
        number: of the newest turn, from 1; 0 before the first.
    """

    def __init__(self) -> None:
        self.state = State.LISTENING
        self.number = 0

    def receive(self, event: Event) -> tuple[Action, ...]:
        """Take an event into account; what comes back is to be done, in this order.

        Raises:
            KeyError: an event that cannot happen now; a fault in the program, not in the user.
        """
        if isinstance(event, ReplyEvent) and not self._is_current(event):
            return ()
        self.state, actions = TRANSITIONS[self.state, type(event)]
        if Action.BEGIN_TURN in actions:
            self.number += 1
        return actions

    def _is_current(self, event: ReplyEvent) -> bool:
        """Whether it is about the reply under way; a late event of an old one dies here."""
        return event.number == self.number and self.state in (State.THINKING, State.SPEAKING)
