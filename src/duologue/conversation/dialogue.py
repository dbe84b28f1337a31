"""Decides everything in one session. Pure: events in, effects out; no tasks, no clock, no I/O.

Who has the floor is one table (`floor.py`). This is what its actions do: to the turn under way, to its
reply, to the conversation, and for the client.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from duologue import metrics
from duologue.conversation.asking import Asking, asks_for, manner, names_any
from duologue.conversation.beside import Beside
from duologue.conversation.effects import (
    Effect,
    Forget,
    Refuse,
    Save,
    Send,
)
from duologue.conversation.events import (
    AudioCleared,
    AudioReceived,
    ChunkGenerated,
    ClearRequested,
    ClientErred,
    ClientEvent,
    ClientLeft,
    CommitRequested,
    CutMarked,
    DrainRequested,
    EndOfTurnAnswered,
    IdleTimedOut,
    ItemAdded,
    ItemCreated,
    ItemDeleted,
    ItemRemoved,
    ItemRequested,
    ItemSent,
    LimitApproached,
    Overheard,
    Pinged,
    PlaybackStarted,
    PlaybackTruncated,
    Ponged,
    ReplyCancelled,
    ReplyDucked,
    ReplyEnded,
    ReplyHeld,
    ReplyRequested,
    ReplyRestored,
    ReplyResumed,
    ReplyTruncated,
    Report,
    ServerEvent,
    SettingsApplied,
    SettingsChanged,
    SoundMissed,
    SoundSent,
    ToolAnswered,
    ToolsListed,
    Transcribed,
    Wish,
    Woken,
    WordsTold,
)
from duologue.conversation.floor import (
    Action,
    Event,
    Floor,
    ReplyGenerated,
    ReplyPlayed,
    ReplySounds,
    State,
    TurnSealed,
    UserPauses,
    UserSpeaks,
)
from duologue.conversation.interruptions import Interruptions
from duologue.conversation.items import Conversation, Item, copy
from duologue.conversation.overhearing import Overhearing
from duologue.conversation.prompt import Capabilities, usable
from duologue.conversation.replies import Replies
from duologue.conversation.speech import Speech
from duologue.errors import (
    InvalidAudio,
    InvalidEvent,
    InvalidField,
    ItemExists,
    NoReply,
    NothingToCommit,
    ReplyActive,
    UnknownItem,
    quoted,
)
from duologue.tools import NO_TOOLS
from duologue.turns.detector import TurnDetector
from duologue.turns.events import (
    DetectorEvent,
    LimitNear,
    Nodded,
    ReplyDue,
    SpeechPaused,
    SpeechStarted,
    TurnEnded,
    WordsWanted,
)

_ANSWERING = (State.AWAITED, State.THINKING, State.SPEAKING, State.DUCKED)
"""A reply is made, and the client may know of it."""

_USERS = (State.HEARING, State.PAUSED, State.EARLY, State.AWAITED)
"""The user has the floor, or may take it again."""

_ASIDES = 4  # replies out of band at once: each takes a place of the model's
_REST = 1.0  # seconds of a reply that are left, at least, where a nod lets it go on
_CALLS_NOTHING = "{} is left out: this model calls no functions"


class Dialogue:
    """The turns of one session, their replies, and the conversation that they become part of.

    Attributes:
        at_rest_since: when something last ended that leaves the floor to nobody, by the session's clock.
    """

    def __init__(
        self,
        session_id: str,
        detector: TurnDetector,
        capabilities: Capabilities,
        conversation: Conversation,
        now: float = 0.0,
        *,
        extensions: bool = True,
    ) -> None:
        """A dialogue that goes on with a conversation.

        Args:
            session_id: for models, and for the log.
            detector: that hears the user.
            capabilities: of the model.
            conversation: that it goes on with. Others may go on with it, too.
            now: by the session's clock.
            extensions: the client knows our extensions of the Realtime API: that an item of which it was
                told becomes part of the next one is one of them. Else, what was told stays told.
        """
        self.at_rest_since = now
        self._id = session_id
        self._detector = detector
        self._capabilities = capabilities
        self._conversation = conversation
        self._floor = Floor()
        self._overhearing = Overhearing(
            capabilities.overhears,
            detector,
            lambda utterance: self._asking.prompt(utterance, self._speech.before, detector.pause),
        )
        self._now = now
        self._replies = Replies(session_id, conversation, detector.patience, now)
        self._speech = Speech(detector, conversation, self._replies, extensions=extensions)
        self._beside = Beside(self._floor, detector, self._speech, self._replies)
        self._asking = Asking(
            session_id, detector, capabilities, conversation, self._replies.tools.offer
        )
        self._interruptions = Interruptions(conversation, self._replies, detector)
        self._ducked = ""  # the item that sounded as the user may have begun to interrupt
        self._quiet = 0.0  # seconds for which nobody has had the floor
        self._quiet_since = 0.0  # where in the incoming audio they began
        self._draining = False
        self._extensions = extensions
        self._weighs = extensions and capabilities.writes  # what may be a nod
        # Programs send a microphone that is open all the time, and commit at the end of what was said.
        detector.slides = not extensions
        self._wanted = NO_TOOLS  # by the client, last
        self._asked: ReplyRequested | None = None  # by the client, while the user spoke

    @property
    def turns(self) -> int:
        """Begun so far."""
        return self._speech.count

    @property
    def state(self) -> State:
        """Who has the floor."""
        return self._floor.state

    @property
    def is_answering(self) -> bool:
        """Whether a reply is made or sounds, to a turn that has ended."""
        return self.state in _ANSWERING

    @property
    def is_busy(self) -> bool:
        """Whether anything is made or sounds: a reply to a turn, or one out of band."""
        return self.is_answering or self._replies.asides > 0

    def receive(self, event: ClientEvent | Report, now: float) -> Sequence[Effect]:
        """Take an event into account.

        Args:
            event: what happened.
            now: when, by the session's clock.

        Returns:
            What has to be done, in this order.
        """
        self._now = self._replies.now = now
        self._replies.effects = []
        self._advance()
        try:
            if isinstance(event, Report):
                self._learn(event)
            else:
                self._obey(event)
        except (InvalidEvent, InvalidAudio) as error:
            name = event.event_id if isinstance(event, Wish) else None
            self._replies.effects.append(Refuse(error, name))
        self._answer_what_waits()
        return self._replies.effects

    def _learn(self, event: Report) -> None:
        """Take into account what is reported of the line, the clock and those who were asked something."""
        match event:
            case SoundMissed(seconds, late):
                self._miss(seconds, late)
            case SoundSent(item_id):
                self._replies.note_sent(item_id)
            case DrainRequested():
                self._drain()
            case ClientLeft():
                self._leave(event)
            case Woken():
                pass
            case _:
                self._take_answer(event)

    def _take_answer(
        self,
        event: ChunkGenerated
        | ReplyEnded
        | EndOfTurnAnswered
        | WordsTold
        | Overheard
        | Transcribed
        | ToolsListed
        | ToolAnswered,
    ) -> None:
        """Take into account what the model, and others who were asked something, answer."""
        match event:
            case ChunkGenerated(number, chunk):
                self._replies.take(number, chunk)
                self._interruptions.take_up(number, chunk)
                self._advance()
            case ReplyEnded(number, error):
                self._replies.end(number, error)
                self._advance()
            case EndOfTurnAnswered(pause, probability):
                self._detector.answer(pause, probability)
            case WordsTold():
                self._detector.judge(event.number, self._interruptions.weigh(event))
            case Overheard():
                self._replies.effects += self._overhearing.hear(event)
            case Transcribed():
                self._write_down(event)
            case ToolsListed():
                self._drop_prepared()
                self._replies.tools.learn(event)
                self._begin_anew()
            case ToolAnswered():
                self._replies.tools.answer(event)

    # What the client wants.

    def _obey(self, event: ClientEvent) -> None:
        """Do what the client wants."""
        match event:
            case AudioReceived():
                self._hear(event)
            case CommitRequested():
                self._commit()
            case ClearRequested():
                self._clear()
                self._send(AudioCleared())
            case ReplyRequested():
                self._request_reply(event)
            case ReplyCancelled():
                self._cancel_reply(event)
            case ReplyResumed():
                self._resume_reply(event)
            case SettingsChanged():
                self._change(event)
            case ItemCreated() | ItemRequested() | ItemRemoved():
                self._edit(event)
            case _:
                self._note(event)

    def _note(
        self, event: PlaybackTruncated | PlaybackStarted | CutMarked | Pinged | ClientErred
    ) -> None:
        """Take into account what the client reports."""
        match event:
            case PlaybackTruncated(item_id, heard):
                self._truncate(item_id, heard)
            case PlaybackStarted(item_id, ago):
                self._replies.note_playback(item_id, ago)
            case CutMarked():
                self._mark_cut()
            case Pinged():
                self._send(Ponged())
            case ClientErred(error, event_id):
                self._replies.effects.append(Refuse(error, event_id))

    def _commit(self) -> None:
        """End the utterance here. Who is interrupting a reply has interrupted it."""
        if self.state is State.AWAITED and self._detector.is_open:
            self._detector.close()  # nothing was said since: the user cannot go on with it any more
            self._advance()
            return
        if self._beside.is_on:
            self._beside.commit(self._detector.commit().utterance)
            return
        if begun := self._detector.believe():
            self._follow(begun)
        if self._detector.playing and self._detector.settings.turn_detection:
            raise NothingToCommit("there is no audio to commit; append some first")
        ended = self._detector.commit()
        self._speech.utterance, self._speech.last_word = ended.utterance, self._now
        self._follow(CommitRequested())

    def _clear(self) -> None:
        if self._beside.is_open:
            self._speech.item = None
        self._detector.clear()
        self._follow(ClearRequested())

    def _request_reply(self, event: ReplyRequested) -> None:
        """Answer the last utterance, or the conversation as it stands."""
        if self._draining:
            return
        self._check_answers()
        named = event.tools and event.tools.choice != "none" and names_any(event.tools)
        if named and not self._capabilities.calls:
            raise InvalidField(_CALLS_NOTHING.format("response.tools"), "response.tools")
        if event.tools:
            self._replies.tools.check(event.tools)
        asked = self._asking.completed(event)
        if not asked.in_band:
            self._start_aside(asked)
            return
        if self._replies.made and self.is_answering:
            raise ReplyActive(
                "Conversation already has an active response in progress: "
                f"{self._replies.made.response.id}. Wait until the response is finished before creating "
                "a new one."
            )
        settings = self._detector.settings
        beside = not settings.interrupt_response and not settings.half_duplex
        if self.state in (State.HEARING, State.PAUSED, State.EARLY) and not beside:
            self._await_turn(asked)
            return
        self._asking.question_of(asked)  # or it is refused
        self._build_on_turn()
        prepared = self._replies.made if self.state is State.LISTENING else None
        plain = (event.instructions, event.input, event.tools) == (None, None, None)
        if prepared and plain and manner(asked) == manner(prepared.asked):
            prepared.asked = asked
        else:
            self._drop_prepared()
        self._follow(asked)

    def _check_answers(self) -> None:
        """Refuse what wants a reply where there are none."""
        if self._detector.settings.only_words:
            raise InvalidEvent(
                "a transcription session writes down what is said, and answers nothing; "
                "connect without intent=transcription to be answered"
            )

    def _start_aside(self, asked: ReplyRequested) -> None:
        """Begin a reply out of band: it is nobody's turn, and whoever speaks meanwhile does not stop it."""
        if self._replies.asides >= _ASIDES:
            raise ReplyActive(
                f"{_ASIDES} responses out of band are made already; wait until one is finished"
            )
        prompt = self._asking.prompt_of(self._asking.question_of(asked), asked)
        own = [function for function in prompt.tools.functions if not function.server]
        tools = replace(
            prompt.tools, functions=tuple(own)
        )  # of servers, the answers would stand nowhere
        self._replies.start_aside(asked, replace(prompt, tools=tools))

    def _await_turn(self, asked: ReplyRequested) -> None:
        """The user speaks: the reply that is asked for answers that, too, when the turn has ended."""
        if self._asked:
            raise ReplyActive(
                "a response was asked for already; it is made when the user has finished"
            )
        if asked.input is not None:
            raise InvalidEvent(
                "the user is speaking; a response to an input of its own can be created when the turn has "
                "ended, or out of band"
            )
        self._asked = asked
        self._begin_anew()

    def _answer_what_waits(self) -> None:
        """What the client asked for while the user spoke is made now, if no turn will be answered."""
        if self._asked and self.state is State.LISTENING:
            asked, self._asked = self._asked, None
            try:
                self._request_reply(asked)
            except InvalidEvent as error:
                self._replies.effects.append(Refuse(error, asked.event_id))

    def _drop_prepared(self) -> None:
        """Take back a reply that was begun in secret, and is not the one that will be asked for."""
        if self.state is State.LISTENING:
            self._replies.drop(committed=True)

    def _begin_anew(self) -> None:
        """What a reply goes by that was begun in secret, in a pause, has changed: begin it anew."""
        if self.state is State.EARLY and self._replies.made:
            self._replies.drop(committed=False)
            self._start_reply(ReplyDue(self._speech.utterance))

    def _build_on_turn(self) -> None:
        """The client builds on the last turn: what is said from now on is another one."""
        if self.state in (State.SPEAKING, State.DUCKED) and not self._beside.is_open:
            self._detector.close()

    def _cancel_reply(self, event: ReplyCancelled) -> None:
        name = event.response_id
        if name is not None and self._replies.cancel_aside(name):
            return
        self._asked = None
        if not self.is_answering or not (name is None or self._replies.has(name)):
            raise NoReply("Cancellation failed: no active response found")
        self._follow(event)

    def _resume_reply(self, event: ReplyResumed) -> None:
        """Let a reply go on that was stopped, in place of what the user says, and of the answer to that."""
        if self._draining:
            return
        self._check_answers()
        rest = self._interruptions.rest_of(event.item_id)  # or it is refused
        self._asked = None
        if self.state in _USERS or self._beside.is_open:
            self._clear()
        if self.is_answering:
            self._follow(ReplyCancelled())
        self._drop_prepared()
        asked = self._asking.completed(ReplyRequested())
        self._replies.take_up(rest, asked)
        self._follow(asked)

    def _change(self, event: SettingsChanged) -> None:
        old, wanted = self._detector.settings, event.settings.tools
        new = usable(event.settings, self._capabilities)
        interrupting = self.state is State.DUCKED and not new.interrupt_response
        if new.turn_detection != old.turn_detection or interrupting:
            self._clear()
        if asks_for(new) != asks_for(old):
            self._drop_prepared()
            self._replies.stopped = None  # it was made in another way
        beside = self._beside.is_open
        self._detector.settings = new
        self._set_playing()
        if asks_for(new) != asks_for(old):
            self._begin_anew()
        if beside and not self._beside.is_on:
            self._take_floor(interrupts=new.interrupt_response)
        self._send(SettingsApplied(new))
        if new.tools != wanted and wanted != self._wanted:
            error = InvalidField(_CALLS_NOTHING.format("session.tools"), "session.tools")
            self._replies.effects.append(Refuse(error, event.event_id))
        self._wanted = wanted
        self._replies.tools.change(new.tools.servers)

    def _take_floor(self, *, interrupts: bool) -> None:
        """What the user says beside a reply interrupts it after all; or is not heard any more."""
        if interrupts:
            self._follow(UserPauses() if self._detector.pause else UserSpeaks())
        else:
            self._speech.item = None
            self._detector.clear()

    def _edit(self, event: ItemCreated | ItemRequested | ItemRemoved) -> None:
        """Change the conversation, or show an item of it."""
        match event:
            case ItemCreated(item, previous_id):
                self._create_item(item, previous_id)
            case ItemRequested(item_id):
                self._send(ItemSent(copy(self._find(item_id, "retrieving", "retrieve"))))
            case ItemRemoved(item_id):
                item = self._find(item_id, "deleting", "delete")
                self._replies.seal(item)
                self._drop_prepared()
                self._conversation.remove(item)
                self._replies.effects.append(Forget(item))
                self._send(ItemDeleted(item_id))
                self._begin_anew()

    def _create_item(self, item: Item, previous_id: str | None) -> None:
        if self._conversation.find(item.id):
            raise ItemExists(
                f"Error creating item: an item with id {quoted(item.id)} already exists."
            )
        before = self._conversation.newest
        if previous_id == "root":
            before = None
        elif previous_id is not None:
            before = self._find(previous_id, "creating", "create", "previous_item_id")
        answers = item.kind == "mcp_approval_response"
        if answers:
            self._replies.tools.request_of(item)  # or it is refused
        self._build_on_turn()
        self._drop_prepared()
        self._conversation.add(item, before, first=before is None)
        self._replies.effects.append(Save(item))
        self._send(ItemAdded(copy(item), before.id if before else None))
        self._replies.ask_for_words(item)
        if answers:
            self._replies.tools.decide(item)
        self._begin_anew()

    def _find(self, item_id: str, doing: str, verb: str, param: str = "item_id") -> Item:
        item = self._conversation.find(item_id)
        if not item:
            raise UnknownItem(doing, verb, item_id, param)
        return item

    def _truncate(self, item_id: str, played: float) -> None:
        """Keep of an item what the client has played of it."""
        if item_id not in self._speech.withdrawn:
            item = self._find(item_id, "truncating", "truncate")
            if item.role != "assistant" or item.kind != "message":
                raise InvalidEvent("only an assistant's message can be truncated")
            played = min(played, item.seconds)
            self._replies.seal(item)
            self._replies.cut(item, played)
        self._send(ReplyTruncated(item_id, played))

    def _mark_cut(self) -> None:
        turns = self._conversation.turns()
        if not turns:
            raise InvalidEvent("no turn has ended yet, so none can have been cut off")
        if not turns[-1].timings.cut:
            self._replies.note_cut(turns[-1], "marked")

    # What the detector hears.

    def _hear(self, event: AudioReceived) -> None:
        if self._draining:
            return
        chunk = event.chunk
        self._replies.hear(chunk.duration)
        try:
            self._detect(self._detector.push(chunk, echo=event.echo))
        finally:
            self._watch_idle(chunk.duration)

    def _miss(self, seconds: float, late: float) -> None:
        if self._draining or not self._detector.settings.turn_detection:
            return
        if self.state is not State.LISTENING:
            self._detect(self._detector.miss(seconds, late))
        self._watch_idle(seconds)

    def _detect(self, events: Iterator[DetectorEvent]) -> None:
        """Take into account what the detector hears, and let the model overhear a turn that is open."""
        # Near its end, assent may be the answer to a question.
        left = math.inf if self._replies.made else self._replies.plays_until - self._now
        self._detector.weighs = self._weighs and left >= _REST
        try:
            for event in events:
                if not self._is_deaf():
                    self._follow_detector(event)
        finally:
            if self._is_deaf():
                self._detector.clear()
            self._advance()
            item = self._speech.item if self._speech.is_open else None
            self._replies.effects += self._overhearing.follow(item.id if item else None)

    def _follow_detector(self, event: DetectorEvent) -> None:
        match event:
            case LimitNear():
                item = None if self._speech.is_committed else self._speech.item
                self._send(LimitApproached(item.id if item else None, event.left))
            case WordsWanted():
                self._interruptions.ask(event)
            case SpeechStarted() if self.state is State.AWAITED:
                self._follow(TurnSealed())  # a moment ago, in the same piece of sound
                self._follow_detector(event)
            case _ if self._beside.is_on:
                self._beside.follow(event)
            case TurnEnded() if not self._detector.settings.create_response:
                self._speech.utterance = event.utterance
                self._follow(CommitRequested())
            case _:
                self._follow(event)

    def _is_deaf(self) -> bool:
        """Whether what comes in is not listened to: a reply is under way and the line is half duplex."""
        settings = self._detector.settings
        return self.is_answering and settings.half_duplex and not settings.interrupt_response

    def _set_playing(self) -> None:
        """Let the detector know whether speech would interrupt something."""
        sounds = self.state in (State.SPEAKING, State.DUCKED)
        self._detector.playing = sounds and not self._beside.is_on
        if self._beside.is_on and self._speech.is_committed:
            self._detector.close()  # what is said beside a reply is another turn

    def _watch_idle(self, seconds: float) -> None:
        """So many seconds have passed, with sound or without."""
        position, settings = self._detector.position, self._detector.settings
        if self.state is not State.LISTENING or not settings.turn_detection:
            self._quiet, self._quiet_since = 0.0, position
            return
        self._quiet += seconds
        if settings.idle_timeout is not None and self._quiet >= settings.idle_timeout:
            self._send(IdleTimedOut(self._quiet_since, position))
            self._quiet, self._quiet_since = 0.0, position
            # The API has the model say something then. Who knows our extensions lets the user go.
            answers = settings.create_response and not settings.only_words and not self._extensions
            if answers and self._capabilities.reads:
                self._request_reply(ReplyRequested())

    # The end.

    def _drain(self) -> None:
        """Take no new turn. A reply that was begun in secret is let out."""
        self._draining = True
        if self.state is State.EARLY:
            self._follow(self._detector.commit())
        elif self.state is State.DUCKED:
            self._clear()  # nobody listens on, to whom the reply would have to give way

    def _leave(self, event: ClientLeft) -> None:
        if self._beside.is_open:
            self._speech.keep()
        self._asked = None
        self._follow(event)
        self._replies.cancel_aside(None)
        self._replies.effects += self._overhearing.stop()

    # What the table says.

    def _follow(self, event: Event | None) -> None:
        """Go to the next state and do what has to be done; then what follows from that."""
        while event:
            for action in self._floor.receive(event):
                self._do(action, event)
            self._set_playing()
            if self.state is State.LISTENING:
                if self._speech.is_open and not isinstance(event, ClientLeft):
                    event = UserPauses() if self._detector.pause else UserSpeaks()
                    continue
                self._detector.close()
                self.at_rest_since = self._now
            event = self._due()
        if self.state in (State.THINKING, State.SPEAKING, State.DUCKED):
            self._replies.send_waiting()

    def _advance(self) -> None:
        """Let happen what is due."""
        self._follow(self._due())

    def _due(self) -> Event | None:
        """What follows from the state of the reply, without anybody's doing."""
        reply = self._replies.made
        if self.state in (State.AWAITED, State.THINKING) and reply:
            if reply.is_audible:
                return ReplySounds()
            if reply.ended:
                return ReplyGenerated()
            if self.state is State.AWAITED and not self._detector.is_open:
                return TurnSealed()
        if self.state in (State.SPEAKING, State.DUCKED):
            if reply and reply.ended:
                return ReplyGenerated()
            if not reply and self._now >= self._replies.plays_until:
                return ReplyPlayed()
        return None

    def _do(self, action: Action, event: Event) -> None:
        match action:
            case Action.BEGIN_TURN:
                item = self._speech.begin(event.at if isinstance(event, SpeechStarted) else None)
                self._interruptions.note(item)
            case Action.CONTINUE_TURN:
                self._speech.go_on()
            case Action.COMMIT_TURN:
                self._speech.commit()
                if self.state is State.LISTENING:
                    self._replies.ask_for_words(self._speech.item)  # nobody answers it
            case Action.FORGET_TURN:
                self._speech.item = None
            case Action.KEEP_TURN:
                self._speech.keep()
            case Action.END_TURN if isinstance(event, TurnEnded):
                self._speech.end(event)
            case Action.REOPEN_TURN:
                self._speech.reopen()
            case Action.ASK_END_OF_TURN if isinstance(event, SpeechPaused):
                self._speech.note_pause(event)
            case _:
                self._do_with_reply(action, event)

    def _do_with_reply(self, action: Action, event: Event) -> None:
        match action:
            case Action.START_REPLY:
                self._start_reply(event)
            case Action.REQUEST_REPLY if isinstance(event, ReplyRequested):
                self._start_requested(event)
            case Action.DROP_REPLY:
                gone = isinstance(event, ClientLeft)
                self._replies.drop(committed=self._speech.is_committed, gone=gone)
            case Action.STOP_REPLY:
                self._stop_replies(event)
            case Action.FINISH_REPLY:
                self._replies.finish()
            case Action.CLOSE_REPLY:
                self._replies.close()
            case Action.ANNOUNCE_REPLY:
                self._asked = None
                self._replies.announce()
            case Action.DUCK | Action.HOLD | Action.RESTORE:
                self._change_sound(action, nodded=isinstance(event, Nodded))

    def _change_sound(self, action: Action, *, nodded: bool) -> None:
        """The reply is played in another way."""
        if action is Action.DUCK:
            metrics.record_duck()
            self._ducked = self._replies.sounding
            self._send(ReplyDucked(self._ducked))
        elif action is Action.HOLD:
            self._replies.hold()
            self._send(ReplyHeld(self._ducked))
        else:
            self._replies.go_on()
            if nodded:
                metrics.record_nod()
                self._interruptions.add_nod(self._ducked)
            else:
                self._send(ReplyRestored(self._ducked))

    def _stop_replies(self, event: Event) -> None:
        """Stop what is made and what sounds.

        A client that ends its utterances itself truncates what it has not played: a reply that is made is
        whole to it.
        """
        by_client = isinstance(event, ClientLeft | ReplyCancelled)
        self._replies.stop(
            "client_cancelled" if by_client else "turn_detected",
            whole=isinstance(event, CommitRequested),
            failed=isinstance(event, ClientLeft) and event.error is not None,
            gone=isinstance(event, ClientLeft),
        )

    def _write_down(self, event: Transcribed) -> None:
        """Somebody has written down what an item says."""
        item = self._conversation.find(event.item_id)
        if not item:
            return
        if event.error:
            self._replies.give_up_words(item, event.error)
        else:
            self._replies.transcribe(item, event.words)

    # The reply.

    def _start_reply(self, event: Event) -> None:
        """Begin the answer to what the user says."""
        item = self._speech.item
        assert item is not None
        if isinstance(event, ReplyDue | TurnEnded):
            self._speech.utterance = event.utterance
        if isinstance(event, TurnEnded) and not event.pause:
            self._speech.last_word = self._now  # the time limit: it was not the last
        in_pause = isinstance(event, ReplyDue) or (isinstance(event, TurnEnded) and event.pause)
        asked = self._asked or self._asking.completed(ReplyRequested())
        prompt = self._asking.prompt(
            self._speech.utterance,
            self._speech.before,
            self._speech.pause if in_pause else 0,
            asked,
        )
        self._replies.start(asked, item, prompt, self._speech.last_word)

    def _start_requested(self, asked: ReplyRequested) -> None:
        """Begin the reply that the client asked for, unless it was begun in secret."""
        if self._replies.made:
            return
        question = self._asking.question_of(asked)
        answers, prompt = question.answers, self._asking.prompt_of(question, asked)
        since = self._speech.last_word if answers and answers is self._speech.item else self._now
        self._replies.start(asked, answers, prompt, since)

    def _send(self, event: ServerEvent) -> None:
        self._replies.effects.append(Send(event))
