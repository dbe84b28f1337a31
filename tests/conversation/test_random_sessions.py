"""Random sessions on the dialogue itself: whatever people, clients, models and clocks do, in any order."""

import itertools
import json
import os
from dataclasses import dataclass, replace
from typing import get_args

import hypothesis
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from duologue.audio import INPUT_RATE, REPLY_RATE, AudioChunk, Samples, silence
from duologue.check.order import Order
from duologue.conversation.dialogue import Dialogue
from duologue.conversation.effects import (
    Ask,
    CallTool,
    Drop,
    Effect,
    Forget,
    ListTools,
    Overhear,
    Refuse,
    Save,
    Send,
    Start,
    StopOverhearing,
    Transcribe,
    Weigh,
)
from duologue.conversation.events import (
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
    FunctionCalled,
    ItemAdded,
    ItemCreated,
    ItemDeleted,
    ItemRemoved,
    ItemRequested,
    ItemsWithdrawn,
    Overheard,
    Pinged,
    PlaybackStarted,
    PlaybackTruncated,
    ReplyCancelled,
    ReplyDelta,
    ReplyDone,
    ReplyDucked,
    ReplyEnded,
    ReplyHeld,
    ReplyItemAdded,
    ReplyRequested,
    ReplyRestored,
    ReplyResumed,
    ReplyStarted,
    Report,
    ServerEvent,
    SessionStarted,
    SettingsChanged,
    SoundMissed,
    SoundSent,
    ToolAnswered,
    ToolCallBegun,
    ToolCallEnded,
    ToolListBegun,
    ToolListEnded,
    ToolsListed,
    Transcribed,
    TurnCommitted,
    TurnStarted,
    UserNotTranscribed,
    UserTranscribed,
    Woken,
    WordsTold,
)
from duologue.conversation.floor import State
from duologue.conversation.items import (
    Conversation,
    FunctionCall,
    Item,
    ReplyChunk,
    Role,
    ToolUse,
    Usage,
)
from duologue.conversation.prompt import Capabilities
from duologue.errors import InvalidEvent, ModelFailed, NotOffered
from duologue.settings import PatienceSetting, Settings
from duologue.testing import LoudnessVad, tone
from duologue.tools import Function, ToolFailure, ToolFilter, Tools, ToolServer
from duologue.transports.realtime.encode import Encoder
from duologue.turns.detector import WINDOW, TurnDetector
from duologue.turns.patience import Patience

_PIECE = 3 * WINDOW  # samples of sound that come at once


class World:
    """A dialogue, and what is around it: a user, a client, a model, Smart Turn, a clock."""

    def __init__(self, settings: Settings, *, extensions: bool) -> None:
        self.now, self.windows = 0.0, 0
        self.conversation = Conversation()
        self.kept: set[Item] = set()
        self.detector = TurnDetector(LoudnessVad(), settings, Patience())
        capabilities = Capabilities(
            True,
            True,
            True,
            "",
            overhears="speech",
            reads=True,
            calls=True,
            writes=True,
            counts=True,
            voices=("eve", "adam"),
        )
        self.dialogue = Dialogue(
            "sess",
            self.detector,
            capabilities,
            self.conversation,
            extensions=extensions,
        )
        self.extensions = extensions
        self.making: int | None = None  # the reply that the model makes
        self.asides: list[int] = []  # those that it makes out of band
        self._aside = False  # what is asked for now is out of band
        self.words = itertools.count()
        self.looks: list[int] = []
        self.asked: list[int] = []  # pauses
        self.weighing: list[int] = []  # numbers of what was said into a reply
        self.scribes: list[str] = []  # items that somebody writes down
        self.listing: list[str] = []  # items of servers that are asked for their tools
        self.calls: list[str] = []  # items of servers that are called
        self.answers: list[str] = []  # items of the model's that the client knows of
        self.line = Line()
        self.encoder, self.order = Encoder("model"), Order()
        self._tell(SessionStarted("sess", settings))
        self.sent: dict[str, str] = {}  # words of replies, by item
        self.ended = False
        self.left_in_reply = False  # the client hung up while a reply was made or played

    # What may happen.

    def speak(self, seconds: float, pace: float) -> None:
        self._sound(tone(seconds).samples, pace)

    def be_silent(self, seconds: float, pace: float) -> None:
        self._sound(silence(seconds, INPUT_RATE).samples, pace)

    def take_turn(self, speech: float, pause: float, sound: float, steps: list["Step"]) -> None:
        """The user says something, in real time, and the model answers; then this happens."""
        self.speak(speech, 1.0)
        self.be_silent(pause, 1.0)
        self.generate(sound, False)
        for step in steps:
            step.happen(self)

    def push_to_talk(self, speech: float, sound: float, steps: list["Step"]) -> None:
        """The same, with a client that tells the end of the turn itself."""
        self.change({"turn_detection": False})
        self.speak(speech, 1.0)
        self.receive(CommitRequested())
        self.receive(ReplyRequested())
        self.generate(sound, False)
        for step in steps:
            step.happen(self)
        self.change({"turn_detection": True})

    def talk_beside(self, length: float, speech: float, pause: float, steps: list["Step"]) -> None:
        """The user says something while a reply sounds that may not be interrupted."""
        self.change({"interrupt_response": False, "half_duplex": False})
        self.take_turn(0.8, 1.2, length, [])
        self.speak(speech, 1.0)
        self.be_silent(pause, 1.0)
        for step in steps:
            step.happen(self)
        self.change({"interrupt_response": True})

    def miss(self, seconds: float) -> None:
        self.now += seconds
        self.receive(SoundMissed(seconds, 1.0))

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.receive(Woken())

    def generate(self, seconds: float, late: bool) -> None:
        """The model makes a piece; or one comes late, of a reply that is not wanted any more."""
        if self.making is not None:
            number = self.making - late
            chunk = ReplyChunk(silence(seconds, REPLY_RATE) if seconds else None, self._word())
            self.receive(
                ChunkGenerated(number, replace(chunk, text="late " if late else chunk.text))
            )

    def generate_aside(self, seconds: float) -> None:
        if self.asides:
            chunk = ReplyChunk(silence(seconds, REPLY_RATE) if seconds else None, self._word())
            self.receive(ChunkGenerated(self.asides[0], chunk))

    def finish_aside(self, fails: bool) -> None:
        if self.asides:
            error = ModelFailed("no more") if fails else None
            self.receive(ReplyEnded(self.asides.pop(), error))

    def cancel(self, back: int) -> None:
        """The client stops a reply that it names: one out of band, perhaps, or one that is over."""
        names = self.line.responses
        self.receive(ReplyCancelled(names[-back] if len(names) >= back else "unknown"))

    def call(self, name: str) -> None:
        """The model calls a function."""
        if self.making is not None:
            call = FunctionCall(name, "{}")
            self.receive(ChunkGenerated(self.making, ReplyChunk(call=call)))

    def understand(self, words: str) -> None:
        if self.making is not None:
            self.receive(ChunkGenerated(self.making, ReplyChunk(user_text=words)))

    def reach_limit(self) -> None:
        """The model has written as much as it may, and says how much that is."""
        if self.making is not None:
            end = ReplyChunk(usage=Usage(20, 7), incomplete=True)
            self.receive(ChunkGenerated(self.making, end))

    def finish(self, fails: bool) -> None:
        if self.making is not None:
            number, self.making = self.making, None
            self.receive(ReplyEnded(number, ModelFailed("no more") if fails else None))

    def answer(self, probability: float, late: bool) -> None:
        if self.asked:
            self.receive(EndOfTurnAnswered(self.asked[0 if late else -1], probability))

    def tell_words(self, words: str | None, late: bool) -> None:
        """What was said into a reply is known."""
        if self.weighing:
            self.receive(WordsTold(self.weighing[0 if late else -1], words))

    def overhear(self, words: str, late: bool) -> None:
        if self.looks:
            self.receive(Overheard(self.looks.pop() - late, words))

    def write_down(self, fails: bool) -> None:
        if self.scribes:
            error = ModelFailed("what?") if fails else None
            self.receive(Transcribed(self.scribes.pop(0), "hello", error))

    def list_tools(self, fails: bool) -> None:
        if self.listing:
            error = NotOffered("no") if fails else None
            self.receive(
                ToolsListed(self.listing.pop(0), (Function("add"), Function("ask")), error)
            )

    def answer_call(self, fails: bool) -> None:
        if self.calls:
            failure = ToolFailure("http_error", "no", 502) if fails else None
            self.receive(ToolAnswered(self.calls.pop(0), "5", failure))

    def approve(self, approved: bool) -> None:
        """The client answers the newest question whether a server may be called, perhaps once more."""
        requests = [item.id for item in self.conversation if item.kind == "mcp_approval_request"]
        if requests:
            answer = Item(self._word(), "user", "mcp_approval_response")
            answer.tool = ToolUse(request_id=requests[-1], approved=approved)
            self.receive(ItemCreated(answer))

    def change(self, changes: dict[str, object]) -> None:
        settings = replace(self.detector.settings, **changes)  # type: ignore[arg-type]
        # Sound of the one mode is no sound of the other.
        old = self.detector.settings
        self.line.forgotten += settings.turn_detection != old.turn_detection
        self.line.forgotten += settings.half_duplex and not old.half_duplex
        self.receive(SettingsChanged(settings))

    def truncate(self, back: int, heard: float) -> None:
        item = self.answers[-back] if len(self.answers) >= back else "unknown"
        self.receive(PlaybackTruncated(item, heard))

    def resume(self, back: int) -> None:
        """The client wants a reply to go on that it names."""
        self.receive(ReplyResumed(self.answers[-back] if len(self.answers) >= back else "unknown"))

    def play(self, back: int) -> None:
        if len(self.answers) >= back:
            self.receive(SoundSent(self.answers[-back]))
            self.receive(PlaybackStarted(self.answers[-back], 0.02))

    def create(self, name: str, role: Role, place: int) -> None:
        """The client writes an item: last, first, or behind another."""
        items = list(self.conversation)
        previous = None if place < 0 or not items else items[min(place, len(items) - 1)].id
        item = Item(name, role, text=self._word(), status="completed")
        self.receive(ItemCreated(item, "root" if place == 0 else previous))

    def look_up(self, place: int) -> None:
        items = list(self.conversation)
        self.receive(ItemRequested(items[place % len(items)].id if items else "unknown"))

    def delete(self, place: int) -> None:
        items = list(self.conversation)
        self.receive(ItemRemoved(items[place % len(items)].id if items else "unknown"))

    def ask(self, asked: ReplyRequested, place: int) -> None:
        """The client wants a reply, perhaps to an item of its choice."""
        items = list(self.conversation)
        if place >= 0 and items:
            asked = replace(asked, input=(items[place % len(items)].id,))
        self.receive(asked)

    def hang_up(self) -> None:
        self.left_in_reply = self.dialogue.is_answering or self.making is not None
        self.receive(ClientLeft())
        self.ended = True

    # What follows.

    def receive(self, event: ClientEvent | Report) -> None:
        if self.ended:
            return
        self.line.forgotten += isinstance(event, ClearRequested | ReplyResumed)
        now = self.detector.settings
        self.line.overlaps = not now.interrupt_response and not now.half_duplex
        self._aside = isinstance(event, ReplyRequested) and not event.in_band
        effects = self.dialogue.receive(event, self.now)
        refused = any(isinstance(effect, Refuse) for effect in effects)
        stops = isinstance(event, ReplyCancelled) and event.response_id not in self.line.asides
        stops = stops or isinstance(event, ReplyResumed)
        if stops and not refused:
            self.line.ducked = None  # who cancels a reply does not play it any more
        for effect in effects:
            self._perform(effect)
        self._check()

    def _sound(self, samples: Samples, pace: float) -> None:
        windows = len(samples) // WINDOW
        # Each window knows its number, by which it is found again in an utterance.
        numbered = samples[: windows * WINDOW].copy()
        numbered[::WINDOW] = (self.windows + 1 + np.arange(windows)) * 1e-5
        self.windows += windows
        for start in range(0, len(numbered), _PIECE):
            piece = AudioChunk(numbered[start : start + _PIECE], INPUT_RATE)
            self.now += piece.duration * pace
            self.receive(AudioReceived(piece))

    def _word(self) -> str:
        return f"w{next(self.words)} "

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Start() | Drop():
                self._make(effect)
            case Overhear() | StopOverhearing():
                self._overhear(effect)
            case Ask(pause):
                self.asked.append(pause)
            case Weigh(number):
                self.weighing.append(number)
            case Transcribe(item_id):
                self.scribes.append(item_id)
            case ListTools() | CallTool():
                self._ask_server(effect)
            case Send(event):
                self._tell(event)
            case Save(item):
                self._keep(item)
            case Forget(item):
                self.kept.remove(item)

    def _make(self, effect: Start | Drop) -> None:
        match effect:
            case Start(reply) if self._aside:
                self.asides.append(reply)
            case Start(reply):
                assert self.making is None, "two replies at once"
                self.making = reply
            case Drop(reply) if reply in self.asides:
                self.asides.remove(reply)
            case Drop(reply):
                assert self.making == reply
                self.making = None

    def _overhear(self, effect: Overhear | StopOverhearing) -> None:
        if isinstance(effect, StopOverhearing):
            self.looks.clear()
            return
        assert not self.looks, "two looks at once"
        self.looks.append(effect.look)

    def _ask_server(self, effect: ListTools | CallTool) -> None:
        waiting = self.listing if isinstance(effect, ListTools) else self.calls
        assert effect.item_id not in waiting
        waiting.append(effect.item_id)

    def _keep(self, item: Item) -> None:
        answer = item.role == "assistant" or item.kind == "mcp_approval_response"
        assert item.text or item.sound or answer, "an empty item"
        assert not item.sound or item.sound.duration > 0, "an empty utterance"
        self.kept.add(item)

    def _tell(self, event: ServerEvent) -> None:
        assert self.extensions or not isinstance(event, ItemsWithdrawn)
        self.line.check(event)
        for message in self.encoder.encode(event):
            self.order.read(json.loads(message))
        assert self.order.violations == []
        if isinstance(event, ReplyItemAdded):
            self.answers.append(event.item_id)
        if isinstance(event, ReplyDelta):
            self.sent[event.item_id] = self.sent.get(event.item_id, "") + event.text

    def _check(self) -> None:
        state = self.dialogue.state
        if state in (State.EARLY, State.AWAITED, State.THINKING):
            assert self.line.replying == (state is State.THINKING)
        if state in (State.HEARING, State.PAUSED):
            assert self.making is None, "a reply while the user has the floor"

    def check_end(self) -> None:
        """The client has left: nothing runs on, no sound is lost or there twice, no reply has a hole."""
        assert self.making is None
        assert not self.asides
        assert not self.line.asides
        assert not self.looks
        assert not self.line.replying
        wordless = self.line.committed & self.line.items - self.line.words - {*self.scribes}
        assert len(wordless) <= self.left_in_reply, "what was said has no words, and never will"
        assert set(self.conversation) <= self.kept
        there = {item.id for item in self.conversation}
        assert self.line.items <= there
        assert there - self.line.items <= self.line.begun - self.line.committed  # broken off
        turns = self.conversation.turns()
        sounds = [item.sound for item in self.conversation if item.sound]
        samples = [sample for sound in sounds for sample in sound.samples[::WINDOW]]
        numbers = [round(float(sample) * 1e5) for sample in samples if sample]
        assert numbers == sorted(set(numbers)), "a window is in two items, or out of place"
        for item in self.conversation:
            if item.spoken:
                assert "late" not in item.said
                assert self.sent[item.id].startswith(item.said)
        open_turns = self.line.begun - self.line.committed - {turn.item.id for turn in turns}
        assert len(open_turns) <= self.line.forgotten, "an utterance is lost"


class Line:
    """What the client is told, and what holds of every session of it.

    Attributes:
        begun: ids of the utterances that it was told of.
        committed: likewise.
        words: ids of the utterances whose words it was told, or that there are none.
        items: ids of the items that are in the conversation, as far as it was told.
        forgotten: how often it has forgotten an utterance.
        ducked: the item that it plays more quietly.
        overlaps: it lets nobody interrupt a reply, and hears what is said beside it.
        replying: it was told of a reply, and not of its end.
        responses: ids of all that it was told of.
        asides: id of a reply out of band that is made -> of its item.
        tools_done: ids of the lists of tools, and of calls, that it was told the end of.
    """

    def __init__(self) -> None:
        self.begun: set[str] = set()
        self.committed: set[str] = set()
        self.items: set[str] = set()
        self.words: set[str] = set()
        self.forgotten = 0
        self.tools_done: set[str] = set()
        self.overlaps = False
        self.responses: list[str] = []
        self.asides: dict[str, str | None] = {}
        self._reply: str | None = None
        self._item: str | None = None  # of the reply
        self._done: set[str] = set()
        self.ducked: str | None = None

    @property
    def replying(self) -> bool:
        return self._reply is not None

    def check(self, event: ServerEvent) -> None:
        """Tell it something."""
        match event:
            case TurnStarted(item_id):
                assert item_id not in self.begun
                assert self.overlaps or not self.replying, (
                    "the reply of the last turn has not ended"
                )
                self.begun.add(item_id)
                self.ducked = None
            case ReplyDucked(item_id):
                assert self.ducked is None
                self.ducked = item_id
            case ReplyHeld(item_id):
                assert self.ducked == item_id
            case ReplyRestored(item_id):
                assert self.ducked == item_id
                self.ducked = None
            case ReplyStarted() | ReplyItemAdded() | ReplyDelta() | ReplyDone():
                self._check_reply(event)
            case _:
                self._check_items(event)

    def _check_aside(self, event: ServerEvent) -> bool:
        """Whether it is about a reply out of band."""
        match event:
            case ReplyStarted(response_id, asked):
                self.responses.append(response_id)
                if not asked.in_band:
                    self.asides[response_id] = None
                return not asked.in_band
            case ReplyItemAdded(response_id, item_id) if response_id in self.asides:
                assert self.asides[response_id] is None
                self.asides[response_id] = item_id
            case ReplyDelta(response_id, item_id) if response_id in self.asides:
                assert self.asides[response_id] == item_id
            case ReplyDone(response_id, item_id) if response_id in self.asides:
                assert self.asides.pop(response_id) == item_id
            case _:
                return False
        return True

    def _check_reply(self, event: ServerEvent) -> None:
        if self._check_aside(event):
            return
        match event:
            case ReplyStarted(response_id):
                assert response_id not in self._done
                assert not self.replying
                self._reply, self._item = response_id, None
            case ReplyItemAdded(response_id, item_id, previous_id, asked):
                assert (response_id, self._item) == (self._reply, None)
                self._item = item_id
                if asked.in_band:
                    self._add(item_id, previous_id)
            case ReplyDelta(response_id, item_id):
                assert (response_id, item_id) == (self._reply, self._item), "no such reply is made"
            case ReplyDone(response_id, item_id):
                assert (response_id, item_id) == (self._reply, self._item), "no such reply is made"
                self._reply = None
                self._done.add(response_id)

    def _check_items(self, event: ServerEvent) -> None:
        match event:
            case TurnCommitted(item_id, previous_id):
                assert item_id not in self.committed
                self.committed.add(item_id)
                self._add(item_id, previous_id)
            case ItemAdded(item, previous_id):
                self._add(item.id, previous_id)
            case FunctionCalled(response_id, item, previous_id, asked):
                assert response_id == self._reply or response_id in self.asides, "no such reply"
                if asked.in_band:
                    self._add(item.id, previous_id)
            case ToolListBegun() | ToolListEnded() | ToolCallBegun() | ToolCallEnded():
                self._check_tools(event)
            case UserTranscribed(item_id) | UserNotTranscribed(item_id):
                assert item_id not in self.words, "the words of an item are told twice"
                assert item_id in self.items
                self.words.add(item_id)
            case ItemsWithdrawn(item_ids):
                self.items -= set(item_ids)
                self.ducked = None
            case ItemDeleted(item_id):
                self.items.remove(item_id)

    def _check_tools(
        self, event: ToolListBegun | ToolListEnded | ToolCallBegun | ToolCallEnded
    ) -> None:
        match event:
            case ToolListBegun(item, previous_id):
                self._add(item.id, previous_id)
            case ToolCallBegun(item, previous_id, approved):
                assert not self.replying or approved, "a server is called within a response"
                if approved:
                    self._add(item.id, previous_id)
            case ToolListEnded(item) | ToolCallEnded(item):
                assert item.id in self.items
                assert item.id not in self.tools_done, "a server has answered twice"
                self.tools_done.add(item.id)

    def _add(self, item_id: str, previous_id: str | None) -> None:
        assert item_id not in self.items, "an item is there twice"
        assert previous_id is None or previous_id in self.items
        self.items.add(item_id)


@dataclass(frozen=True)
class Step:
    """A method of the world that is called, and with what."""

    name: str
    arguments: tuple[object, ...] = ()

    def happen(self, world: World) -> None:
        """Do it."""
        getattr(world, self.name)(*self.arguments)


def step(name: str, *arguments: st.SearchStrategy[object]) -> st.SearchStrategy[Step]:
    """Steps of this name with such arguments."""
    return st.builds(Step, st.just(name), st.tuples(*arguments))


def wish(event: ClientEvent | Report) -> st.SearchStrategy[Step]:
    """A step in which this happens."""
    return st.just(Step("receive", (event,)))


def any_of(kinds: list[st.SearchStrategy[Step]]) -> st.SearchStrategy[Step]:
    """One of these, each as often as it is named; `one_of` would choose among all that is in them."""
    return st.sampled_from(kinds).flatmap(lambda kind: kind)


SPEECH = st.sampled_from([0.07, 0.16, 0.32, 0.8, 1.6])
SILENCE = st.sampled_from([0.1, 0.3, 0.5, 0.8, 1.2, 3.0])
PACE = st.sampled_from([1.0, 1.0, 1.0, 0.0, 1.5])  # seconds of the clock, for one of sound
LATE = st.sampled_from([False, False, False, True])
PATIENCE: tuple[PatienceSetting, ...] = get_args(PatienceSetting)
Changes = dict[str, object]  # of settings
SERVERS = (
    ToolServer("sums", "http://sums/mcp", approval="never", asked=ToolFilter(("ask",))),
    ToolServer("others", "http://others/mcp"),
)
CHANGES: list[Changes] = [
    {"create_response": True},
    {"create_response": False},
    {"interrupt_response": True},
    {"interrupt_response": False},
    {"half_duplex": True},
    {"half_duplex": False},
    {"turn_detection": True},
    {"turn_detection": False},
    *[Changes(patience=patience) for patience in PATIENCE],
    {"patience": "fixed", "silence": 0.2},
    {"time_limit": 2.0},
    {"time_limit": 30.0},
    {"idle_timeout": None},
    {"idle_timeout": 1.0},
    {"aloud": False},
    {"aloud": True},
    {"tools": Tools((Function("look"),))},
    {"tools": Tools((Function("look"),), servers=SERVERS)},
    {"tools": Tools(servers=SERVERS[:1])},
    {"voice": "adam", "max_output_tokens": 7},
]
ASKED = st.sampled_from(
    [
        *[ReplyRequested()] * 3,
        ReplyRequested(instructions="Greet.", metadata={"topic": "x"}),
        ReplyRequested(aloud=False),
        ReplyRequested(in_band=False),
        ReplyRequested(tools=Tools((Function("look"),), "required")),
        ReplyRequested(voice="adam", max_output_tokens=7),
    ]
)
SOUNDS = [
    *[step("speak", SPEECH, PACE)] * 4,
    *[step("be_silent", SILENCE, PACE)] * 4,
]
MODEL = [
    *[step("generate", st.sampled_from([0.0, 0.08, 0.5, 2.0]), LATE)] * 5,
    *[step("finish", LATE)] * 2,
    *[step("understand", st.sampled_from(["hello", "uh-huh", "", "go on", "go on"]))] * 2,
    *[step("generate_aside", st.sampled_from([0.0, 0.08, 2.0]))] * 2,
    step("finish_aside", LATE),
    step("reach_limit"),
    *[step("call", st.sampled_from(["look", "add", "ask"]))] * 2,
    *[step("list_tools", LATE)] * 2,
    *[step("answer_call", LATE)] * 2,
    step("answer", st.sampled_from([0.01, 0.5, 0.99]), LATE),
    step("write_down", LATE),
    *[step("tell_words", st.sampled_from(["uh-huh", "uh-huh", "", "stop", None]), LATE)] * 2,
    step("overhear", st.sampled_from(["", "a", "a b"]), LATE),
]
WISHES = [
    *[wish(CommitRequested())] * 2,
    *[step("ask", ASKED, st.sampled_from([-1, -1, 0, 1]))] * 3,
    step("create", st.sampled_from("abcdef"), st.sampled_from(get_args(Role)), st.integers(-1, 3)),
    step("look_up", st.integers(0, 3)),
    step("approve", st.booleans()),
    step("delete", st.integers(0, 3)),
    *[wish(ReplyCancelled())] * 2,
    step("cancel", st.integers(1, 3)),
    wish(ClearRequested()),
    wish(CutMarked()),
    *[wish(ReplyResumed())] * 2,
    step("resume", st.integers(1, 3)),
    wish(Pinged()),
    wish(ClientErred(InvalidEvent("what?"), "event_1")),
    *[step("change", st.sampled_from(CHANGES))] * 2,
    *[step("truncate", st.integers(1, 3), st.sampled_from([0.0, 0.3, 1.0, 60.0]))] * 2,
    step("play", st.integers(1, 2)),
]
TIME = [
    *[step("wait", st.sampled_from([0.05, 0.5, 3.0, 600.0]))] * 6,
    *[step("miss", st.sampled_from([0.1, 1.1, 4.0]))] * 3,
    wish(DrainRequested()),
]
SOUND, GENERATED, WISH, PASSED = any_of(SOUNDS), any_of(MODEL), any_of(WISHES), any_of(TIME)
STEPS = any_of([SOUND, SOUND, GENERATED, WISH, PASSED])
TURNS = step(
    "take_turn",
    st.sampled_from([0.32, 0.8]),
    st.sampled_from([0.5, 1.2, 1.2, 1.6, 3.0]),
    st.sampled_from([0.0, 0.08, 0.5, 2.0, 8.0]),
    st.lists(STEPS, max_size=3),
)
# Of a list without a least size, hypothesis makes five: too few for anything to meet. What is not needed
# for a failure, it makes a wait of no time.
PUSH_TO_TALK = step(
    "push_to_talk",
    st.sampled_from([0.03, 0.8]),
    st.sampled_from([0.0, 0.5, 8.0]),
    st.lists(any_of([SOUND, GENERATED, *[WISH] * 2, PASSED]), max_size=4),
)
BESIDE = step(
    "talk_beside",
    st.sampled_from([0.3, 1.0, 8.0]),
    st.sampled_from([0.32, 0.8]),
    st.sampled_from([0.05, 0.2, 0.5, 1.2]),
    st.lists(any_of([SOUND, GENERATED, *[WISH] * 2, PASSED]), max_size=4),
)
SESSIONS = st.lists(
    any_of([step("wait", st.just(0.0)), *[TURNS] * 4, *[STEPS] * 3, PUSH_TO_TALK, BESIDE]),
    min_size=10,
    max_size=20,
)


# `make test` has the same sessions each time; `make nightly` looks for faults that they do not meet.
@given(SESSIONS, st.sampled_from(CHANGES), st.booleans())
@hypothesis.settings(
    max_examples=int(os.environ.get("SESSIONS", "2000")), derandomize="SESSIONS" not in os.environ
)
def test_whatever_happens(steps: list[Step], changes: Changes, extensions: bool) -> None:
    settings = replace(Settings(), **changes)  # type: ignore[arg-type]
    world = World(settings, extensions=extensions)
    for happens in steps:
        happens.happen(world)
    world.hang_up()
    world.check_end()
