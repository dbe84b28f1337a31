"""Who has the floor. Pure: events in, actions out; no sound, no clock, no tasks.

Everything about taking turns is one row of `TRANSITIONS`. Who is to be heard, and how long a pause may
be, is the detector's to say (`turn.py`).
"""

from enum import Enum, auto

from duologue.events import (
    ClearRequested,
    CommitRequested,
    DetectorEvent,
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


class State(Enum):
    """Who has the floor."""

    LISTENING = auto()
    """Nobody."""
    HEARING = auto()
    """The user speaks."""
    PAUSED = auto()
    """The user has paused, and may have finished."""
    THINKING = auto()
    """The model was asked; nothing is to be heard of it yet, and the user may still go on."""
    SPEAKING = auto()
    """The reply is being heard, generated to its end or not."""
    DUCKED = auto()
    """It is being heard quietly, because the user may be interrupting."""


class Action(Enum):
    """What the session has to do about it, in this order."""

    STOP_REPLY = auto()
    """Stop what the client knows of."""
    DROP_REPLY = auto()
    """Take back what the client knows nothing of."""
    BEGIN_TURN = auto()
    REOPEN_TURN = auto()
    """Begin a turn with the utterance of the one before, which is withdrawn."""
    DROP_TURN = auto()
    COMMIT_TURN = auto()
    """Make it part of the conversation, if it is not yet."""
    ASK = auto()
    """Ask how finished the user sounds."""
    START_REPLY = auto()
    """Ask the model, and hold back what it says."""
    LET_OUT = auto()
    """Let out what it says, from the first sound on."""
    DUCK = auto()
    RESTORE = auto()
    REFUSE = auto()
    WARN = auto()
    """Tell of the limit in time."""


Event = (
    DetectorEvent | ReplyEvent | CommitRequested | ReplyRequested | ReplyCancelled | ClearRequested
)

_L, _H, _P = State.LISTENING, State.HEARING, State.PAUSED
_T, _S, _D = State.THINKING, State.SPEAKING, State.DUCKED
_STOP, _DROP, _BEGIN, _COMMIT = (
    Action.STOP_REPLY,
    Action.DROP_REPLY,
    Action.BEGIN_TURN,
    Action.COMMIT_TURN,
)
_START, _LET_OUT = Action.START_REPLY, Action.LET_OUT
_REFUSE = (Action.REFUSE,)

TRANSITIONS: dict[tuple[State, type[Event]], tuple[State, tuple[Action, ...]]] = {
    # The user begins to speak. A reply that is being heard is stopped only by what lasts: first it
    # is made quiet.
    (_L, SpeechStarted): (_H, (_BEGIN,)),
    (_T, SpeechStarted): (_H, (_STOP, _BEGIN)),
    (_S, SpeechSuspected): (_D, (Action.DUCK,)),
    (_D, SpeechDenied): (_S, (Action.RESTORE,)),
    (_D, SpeechStarted): (_H, (_STOP, _BEGIN)),
    # The user pauses. The reply is begun before it is known whether that is the end of the turn, and
    # nobody hears of it until it is.
    (_H, SpeechPaused): (_P, (Action.ASK,)),
    (_P, ReplyDue): (_T, (_START,)),
    (_P, TurnEnded): (_T, (_START, _LET_OUT)),
    (_T, TurnEnded): (_T, (_LET_OUT,)),
    (_H, TurnEnded): (_T, (_START, _LET_OUT)),  # the time limit
    # The user goes on: before anything of the reply was heard, as if nothing had been; within a second
    # of it, both halves become one turn.
    (_P, SpeechResumed): (_H, ()),
    (_T, SpeechResumed): (_H, (_DROP,)),
    (_D, SpeechResumed): (_H, (_STOP, Action.REOPEN_TURN)),
    # A turn ends that nobody is to answer yet.
    (_L, CommitRequested): (_L, (_BEGIN, _COMMIT)),
    (_H, CommitRequested): (_L, (_COMMIT,)),
    (_P, CommitRequested): (_L, (_COMMIT,)),
    (_T, CommitRequested): (_L, (_STOP, _BEGIN, _COMMIT)),
    (_S, CommitRequested): (_L, (_STOP, _BEGIN, _COMMIT)),
    (_D, CommitRequested): (_L, (_STOP, _BEGIN, _COMMIT)),
    # The client forgets what it has sent. In THINKING this is about a turn that can still go on.
    (_L, ClearRequested): (_L, ()),
    (_H, ClearRequested): (_L, (Action.DROP_TURN,)),
    (_P, ClearRequested): (_L, (Action.DROP_TURN,)),
    (_T, ClearRequested): (_L, (_DROP, Action.DROP_TURN)),
    (_S, ClearRequested): (_S, ()),
    (_D, ClearRequested): (_S, (Action.RESTORE,)),
    # The client wants a reply.
    (_L, ReplyRequested): (_T, (_START, _LET_OUT)),
    (_H, ReplyRequested): (_H, _REFUSE),
    (_P, ReplyRequested): (_P, _REFUSE),
    (_T, ReplyRequested): (_T, _REFUSE),
    (_S, ReplyRequested): (_S, _REFUSE),
    (_D, ReplyRequested): (_D, _REFUSE),
    # A reply is no longer wanted. What is not there cannot be stopped, and that is no error.
    (_L, ReplyCancelled): (_L, ()),
    (_H, ReplyCancelled): (_H, ()),
    (_P, ReplyCancelled): (_P, ()),
    (_T, ReplyCancelled): (_L, (_COMMIT, _STOP)),
    (_S, ReplyCancelled): (_L, (_STOP,)),
    (_D, ReplyCancelled): (_L, (_STOP,)),
    # The reply goes its way. It is over when it was heard, not when it was generated: else a late
    # barge-in would find nothing to stop. One that never sounded is over at once.
    (_T, ReplyAudible): (_S, ()),
    (_T, ReplyGenerated): (_L, ()),
    (_S, ReplyGenerated): (_S, ()),
    (_D, ReplyGenerated): (_D, ()),
    (_S, ReplyHeard): (_L, ()),
    (_D, ReplyHeard): (_L, (Action.RESTORE,)),
    # Who speaks for long is told so. Without turn detection, whatever goes on.
    **{(state, LimitNear): (state, (Action.WARN,)) for state in State},
}
"""(state, event) -> (next state, actions). A pair that is not here cannot happen."""


class Conversation:
    """The turns of one user, as a state machine.

    Attributes:
        state: who has the floor.
        turns: begun so far.
        number: of the newest reply, from 1; 0 before the first.
    """

    def __init__(self) -> None:
        self.state = State.LISTENING
        self.turns = 0
        self.number = 0

    def receive(self, event: Event) -> tuple[Action, ...]:
        """Take an event into account; what comes back is to be done, in this order.

        Raises:
            KeyError: an event that cannot happen now; a fault in the program, not in the user.
        """
        if isinstance(event, ReplyEvent) and not self._is_current(event):
            return ()
        self.state, actions = TRANSITIONS[self.state, type(event)]
        self.turns += Action.BEGIN_TURN in actions
        self.number += Action.START_REPLY in actions
        return actions

    def _is_current(self, event: ReplyEvent) -> bool:
        """Whether it is about the reply under way; a late event of an old one dies here."""
        return event.number == self.number and self.state in (_T, _S, _D)
