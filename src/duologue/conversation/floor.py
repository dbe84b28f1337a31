"""Who has the floor. Pure: events in, actions out; no sound, no clock, no tasks.

Everything about taking turns is one row of `TRANSITIONS`. Whether somebody speaks, and how long a pause
may be, the detector decides (`turn.py`). What an action does, the dialogue knows (`dialogue.py`).
"""

from dataclasses import dataclass
from enum import Enum, auto

from duologue.conversation.events import (
    ClearRequested,
    ClientLeft,
    CommitRequested,
    ReplyCancelled,
    ReplyRequested,
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


class State(Enum):
    """Who has the floor."""

    LISTENING = auto()
    """Nobody. If there is a reply, it was begun in secret, and no client has asked for it yet."""
    HEARING = auto()
    """The user speaks."""
    PAUSED = auto()
    """The user has paused, and may have finished."""
    EARLY = auto()
    """The user has paused, and a reply was begun in secret."""
    AWAITED = auto()
    """The turn has ended and its reply is made; until it sounds, the user may go on with the turn."""
    THINKING = auto()
    """The turn is committed, its reply is made, and nothing of it sounds yet."""
    SPEAKING = auto()
    """The reply sounds; the model may have finished it or not."""
    DUCKED = auto()
    """The reply sounds more quietly, or is held, because the user may be interrupting it."""


class Action(Enum):
    """What the dialogue has to do, in this order."""

    BEGIN_TURN = auto()
    CONTINUE_TURN = auto()
    """Begin a turn with the utterance of the last one, which is withdrawn."""
    COMMIT_TURN = auto()
    """Make the turn part of the conversation."""
    FORGET_TURN = auto()
    KEEP_TURN = auto()
    """Keep what the user has said of the turn, though it has not ended."""
    END_TURN = auto()
    """The user has finished, as far as is known."""
    REOPEN_TURN = auto()
    """The user has not finished after all."""
    ASK_END_OF_TURN = auto()
    """Ask how finished the user sounds."""
    START_REPLY = auto()
    """Ask the model."""
    REQUEST_REPLY = auto()
    """Ask the model, unless the reply that was begun in secret is the one that is wanted."""
    ANNOUNCE_REPLY = auto()
    """Tell the client that the reply is made."""
    DROP_REPLY = auto()
    """Take back a reply that no client knows of."""
    STOP_REPLY = auto()
    """Stop a reply that the client knows of."""
    FINISH_REPLY = auto()
    """The model has no more to say."""
    CLOSE_REPLY = auto()
    """The reply has been played to its end."""
    DUCK = auto()
    HOLD = auto()
    """Play nothing, until it is known whether the reply goes on."""
    RESTORE = auto()


# What becomes of a reply. Only the dialogue knows when; the table knows what follows.


@dataclass(frozen=True, slots=True)
class TurnSealed:
    """The user can no longer go on with the turn: what is said from now on is another one."""


@dataclass(frozen=True, slots=True)
class UserSpeaks:
    """What the user says beside a reply, which it may not interrupt, has the floor from now on."""


@dataclass(frozen=True, slots=True)
class UserPauses:
    """The same, and the user has paused in it."""


@dataclass(frozen=True, slots=True)
class ReplySounds:
    """The first sound of the reply is there, and the client may have it."""


@dataclass(frozen=True, slots=True)
class ReplyGenerated:
    """The model has given all of the reply, or has failed."""


@dataclass(frozen=True, slots=True)
class ReplyPlayed:
    """The reply has been played to its end, by the clock."""


Event = (
    SpeechSuspected
    | SpeechDenied
    | SpeechHeld
    | Nodded
    | SpeechStarted
    | SpeechPaused
    | SpeechResumed
    | ReplyDue
    | TurnEnded
    | CommitRequested
    | ClearRequested
    | ReplyRequested
    | ReplyCancelled
    | ClientLeft
    | TurnSealed
    | UserSpeaks
    | UserPauses
    | ReplySounds
    | ReplyGenerated
    | ReplyPlayed
)


class ImpossibleEvent(Exception):
    """An event came in a state in which it cannot come: a fault in the program, not in the user."""


_L, _H, _P, _E, _A, _T, _S, _D = State
_BEGIN, _CONTINUE, _COMMIT = Action.BEGIN_TURN, Action.CONTINUE_TURN, Action.COMMIT_TURN
_FORGET, _KEEP = Action.FORGET_TURN, Action.KEEP_TURN
_END, _REOPEN, _ASK = Action.END_TURN, Action.REOPEN_TURN, Action.ASK_END_OF_TURN
_START, _REQUEST, _ANNOUNCE = Action.START_REPLY, Action.REQUEST_REPLY, Action.ANNOUNCE_REPLY
_DROP, _STOP = Action.DROP_REPLY, Action.STOP_REPLY
_FINISH, _CLOSE = Action.FINISH_REPLY, Action.CLOSE_REPLY
_DUCK, _HOLD, _RESTORE = Action.DUCK, Action.HOLD, Action.RESTORE

TRANSITIONS: dict[tuple[State, type[Event]], tuple[State, tuple[Action, ...]]] = {
    # The user begins to speak. What sounds is stopped only by speech that lasts: first it is ducked.
    (_L, SpeechStarted): (_H, (_DROP, _BEGIN)),
    (_T, SpeechStarted): (_H, (_STOP, _BEGIN)),
    (_S, SpeechSuspected): (_D, (_DUCK,)),
    (_D, SpeechDenied): (_S, (_RESTORE,)),
    # Where words are weighed, it is held before it is known whether it is stopped.
    (_D, SpeechHeld): (_D, (_HOLD,)),
    (_D, Nodded): (_S, (_RESTORE,)),
    (_D, SpeechStarted): (_H, (_STOP, _BEGIN)),
    # The user pauses. The reply is begun before it is known whether the turn has ended, and in secret.
    (_H, SpeechPaused): (_P, (_ASK,)),
    (_P, ReplyDue): (_E, (_START,)),
    (_P, TurnEnded): (_A, (_START, _END)),
    (_E, TurnEnded): (_A, (_END,)),
    (_H, TurnEnded): (_A, (_START, _END)),  # the time limit
    (_A, TurnSealed): (_T, (_COMMIT, _ANNOUNCE)),
    # The user goes on: before the reply sounds, as if nothing had been; within a second of the first
    # sound, both halves become one turn.
    (_P, SpeechResumed): (_H, ()),
    (_E, SpeechResumed): (_H, (_DROP,)),
    (_A, SpeechResumed): (_H, (_DROP, _REOPEN)),
    (_D, SpeechResumed): (_H, (_STOP, _CONTINUE)),
    # The turn ends, and nobody has asked for a reply. One that was begun in secret waits to be asked for.
    (_L, CommitRequested): (_L, (_DROP, _BEGIN, _COMMIT)),
    (_H, CommitRequested): (_L, (_COMMIT,)),
    (_P, CommitRequested): (_L, (_COMMIT,)),
    (_E, CommitRequested): (_L, (_COMMIT,)),
    (_T, CommitRequested): (_L, (_STOP, _BEGIN, _COMMIT)),
    (_S, CommitRequested): (_L, (_STOP, _BEGIN, _COMMIT)),
    # The client forgets what it has sent since the last turn that is committed.
    (_L, ClearRequested): (_L, ()),
    (_H, ClearRequested): (_L, (_FORGET,)),
    (_P, ClearRequested): (_L, (_FORGET,)),
    (_E, ClearRequested): (_L, (_DROP, _FORGET)),
    (_A, ClearRequested): (_L, (_DROP, _FORGET)),
    (_T, ClearRequested): (_T, ()),
    (_S, ClearRequested): (_S, ()),
    (_D, ClearRequested): (_S, (_RESTORE,)),
    # The client wants a reply. One at a time: the dialogue refuses what comes while one is made.
    (_L, ReplyRequested): (_T, (_REQUEST, _ANNOUNCE)),
    # The last one is made, and goes on to be played:
    (_S, ReplyRequested): (_S, (_REQUEST, _ANNOUNCE)),
    (_D, ReplyRequested): (_D, (_REQUEST, _ANNOUNCE)),
    # Where the user may not interrupt, a reply is made and sounds beside what the user says. When it is
    # over, or may be interrupted after all, the user has the floor.
    (_H, ReplyRequested): (_T, (_REQUEST, _ANNOUNCE)),
    (_P, ReplyRequested): (_T, (_REQUEST, _ANNOUNCE)),
    (_E, ReplyRequested): (_T, (_DROP, _REQUEST, _ANNOUNCE)),
    (_L, UserSpeaks): (_H, ()),
    (_L, UserPauses): (_P, ()),
    **{(state, UserSpeaks): (_H, (_STOP,)) for state in (_T, _S)},
    **{(state, UserPauses): (_P, (_STOP,)) for state in (_T, _S)},
    # The client wants a reply no more. One that it does not know of, it cannot mean.
    (_A, ReplyCancelled): (_L, (_COMMIT, _ANNOUNCE, _STOP)),
    (_T, ReplyCancelled): (_L, (_STOP,)),
    (_S, ReplyCancelled): (_L, (_STOP,)),
    (_D, ReplyCancelled): (_L, (_STOP,)),
    # The reply goes its way. It ends when it has been played, not when it has been generated: else a late
    # barge-in would find nothing to stop. One without a sound ends at once.
    (_A, ReplySounds): (_S, (_COMMIT, _ANNOUNCE)),
    (_T, ReplySounds): (_S, ()),
    (_A, ReplyGenerated): (_L, (_COMMIT, _ANNOUNCE, _FINISH, _CLOSE)),
    (_T, ReplyGenerated): (_L, (_FINISH, _CLOSE)),
    (_S, ReplyGenerated): (_S, (_FINISH,)),
    (_D, ReplyGenerated): (_D, (_FINISH,)),
    (_S, ReplyPlayed): (_L, (_CLOSE,)),
    (_D, ReplyPlayed): (_L, (_RESTORE, _CLOSE)),
    # The client has gone. What the user said is kept.
    (_L, ClientLeft): (_L, (_DROP,)),
    (_H, ClientLeft): (_L, (_KEEP,)),
    (_P, ClientLeft): (_L, (_KEEP,)),
    (_E, ClientLeft): (_L, (_DROP, _KEEP)),
    (_A, ClientLeft): (_L, (_DROP, _KEEP)),
    (_T, ClientLeft): (_L, (_STOP,)),
    (_S, ClientLeft): (_L, (_STOP,)),
    (_D, ClientLeft): (_L, (_STOP,)),
}
"""(state, event) -> (next state, actions). A pair that is not here cannot happen."""

_WHY: dict[type[Event], str] = {
    SpeechStarted: "the detector hears speech begin only where no utterance is open",
    SpeechSuspected: "the detector suspects an interruption only while a reply sounds",
    SpeechDenied: "the detector denies only what it has suspected",
    SpeechHeld: "the detector weighs only what it has suspected",
    Nodded: "the detector weighs only what it has suspected",
    SpeechPaused: "the detector hears a pause only in speech",
    SpeechResumed: "the detector hears speech go on only after a pause",
    ReplyDue: "the detector calls for a reply once in a pause",
    TurnEnded: "the detector ends a turn once",
    CommitRequested: "the dialogue takes a commit in AWAITED for a seal, and in DUCKED for speech",
    ReplyRequested: "the dialogue refuses a request while a reply is made",
    ReplyCancelled: "the dialogue refuses to cancel a reply that the client does not know of",
    TurnSealed: "the dialogue seals a turn once, when it has ended",
    UserSpeaks: "the user speaks beside a reply that sounds in full",
    UserPauses: "the user speaks beside a reply that sounds in full",
    ReplySounds: "the first sound of a reply is sent once, when its turn has ended",
    ReplyGenerated: "the dialogue keeps the end of a reply to itself until its turn has ended",
    ReplyPlayed: "only a reply that sounds can have been played",
}


class Floor:
    """The state machine of one dialogue.

    Attributes:
        state: who has the floor.
    """

    def __init__(self) -> None:
        self.state = State.LISTENING

    def receive(self, event: Event) -> tuple[Action, ...]:
        """Go to the next state, and return what has to be done, in this order.

        Raises:
            ImpossibleEvent: the event cannot come in this state.
        """
        kind = type(event)
        try:
            self.state, actions = TRANSITIONS[self.state, kind]
        except KeyError:
            raise ImpossibleEvent(
                f"{kind.__name__} cannot come in {self.state.name}: {_WHY[kind]}"
            ) from None
        return actions
