"""One user, from connect to hang-up: the shell that does what the `Dialogue` decides."""

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

from duologue import metrics
from duologue.audio import AudioChunk
from duologue.clock import Clock, WallClock
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
    SaveFigures,
    SavePatience,
    Send,
    Start,
    StopOverhearing,
    Transcribe,
    WakeAt,
    Weigh,
    Withhold,
)
from duologue.conversation.events import (
    AudioReceived,
    ChunkGenerated,
    ClientEvent,
    ClientLeft,
    DrainRequested,
    EndOfTurnAnswered,
    ErrorOccurred,
    Overheard,
    ReplyDelta,
    ReplyEnded,
    Report,
    ServerEvent,
    SessionStarted,
    SettingsChanged,
    SoundMissed,
    SoundSent,
    ToolAnswered,
    ToolsListed,
    Transcribed,
    Woken,
    WordsTold,
)
from duologue.conversation.floor import State
from duologue.conversation.items import Conversation, Item, Turn
from duologue.conversation.prompt import Prompt, usable
from duologue.errors import (
    DuologueError,
    ModelFailed,
    NotOffered,
    SessionExpired,
    TooManyErrors,
    TooManyReplies,
)
from duologue.models import Overhearer, SpeechModel, Transcriber
from duologue.session.outbox import Outbox
from duologue.settings import Settings
from duologue.tools import Function, ToolFailure, ToolServer
from duologue.turns.detector import TurnDetector, Vad
from duologue.turns.patience import Patience

logger = logging.getLogger(__name__)

_GAP = 1.0  # seconds without a sound after which silence takes its place
_PIECE = 2.0  # seconds by which that is later at most, for who sends sound in long pieces
_STALL = 0.5  # seconds by which a clock is late when the whole server stood still
_SLICE = 0.1  # seconds of audio worked through between two looks at the event loop: 0.4 ms of VAD


EndOfTurn = Callable[[AudioChunk], Awaitable[float | None]]
"""How finished the user sounds: up to 8 s at `INPUT_RATE` -> 0..1, or None if that takes too long."""


class Record(Protocol):
    """Where one conversation is kept.

    Attributes:
        conversation: what is kept of it.
        patience: `Patience.factor` of its user.
    """

    conversation: Conversation
    patience: float

    def save(self, item: Item) -> None:
        """Keep this item, new or changed."""
        ...

    def forget(self, item: Item) -> None:
        """Let go of an item."""
        ...

    def note(self, turn: Turn) -> None:
        """Keep the figures of this turn, new or changed."""
        ...


class ToolServers(Protocol):
    """Speaks with the servers of tools that clients name."""

    async def list(self, server: ToolServer) -> tuple[Function, ...]:
        """The functions that a server offers.

        Raises:
            DuologueError: it offers none, or may not be asked; says why.
        """
        ...

    async def call(self, server: ToolServer, name: str, arguments: str) -> str | ToolFailure:
        """What the function `name` of a server gives; `arguments` are JSON."""
        ...


class Transport(Protocol):
    """A client: iterate over what it wants, send it what it is told.

    Attributes:
        extensions: it knows our extensions of the Realtime API: that items become part of the next one is
            one of them.
    """

    extensions: bool

    def __aiter__(self) -> AsyncIterator[ClientEvent]:
        """Ends when the client has hung up, or after `close`."""
        ...

    async def send(self, event: ServerEvent) -> None:
        """Send an event, as slowly as the client reads.

        Raises:
            ConnectionError: the client has gone.
        """
        ...

    async def close(self, error: DuologueError) -> None:
        """Hang up on the client.

        Raises:
            ConnectionError: the client has gone.
        """
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one session may take.

    Attributes:
        length: seconds until a session is ended; the Realtime API's hour.
        unsent: seconds of sound that may wait for a client that reads slowly.
        drain: seconds that a closing session may take to say its last words.
        ahead: seconds of sound that are heard at once, as a whole file may be sent; what comes beyond
            them is heard at `pace` times the speed of life, for there are others.
        pace: likewise.
        errors: in one second that end the session.
        scribes: utterances that may wait to be written down, where no reply tells their words.
        errands: questions to servers of tools that may be under way.
    """

    length: float = 3600.0
    unsent: float = 120.0
    drain: float = 2.0
    ahead: float = 300.0
    pace: float = 10.0
    errors: int = 100
    scribes: int = 20
    errands: int = 20


class Session:
    """One user: the shell around a `Dialogue`. Owns the tasks that serve it, and nothing that outlives it.

    Attributes:
        id: as the client is told.
    """

    def __init__(
        self,
        transport: Transport,
        vad: Vad,
        model: SpeechModel,
        record: Record,
        settings: Settings = Settings(),  # noqa: B008  frozen
        *,
        end_of_turn: EndOfTurn | None = None,
        limits: Limits = Limits(),
        clock: Clock | None = None,
        ear: Transcriber | None = None,
        tool_servers: ToolServers | None = None,
    ) -> None:
        """A session, which begins with `run`.

        Args:
            transport: its client.
            vad: hears speech, for this session alone.
            model: that answers.
            record: what is kept of the conversation.
            settings: that it begins with.
            end_of_turn: hears how finished somebody sounds; None: nobody does.
            limits: how much it may take.
            clock: its time.
            ear: writes down what is said, where the client wants that and the model does not.
            tool_servers: asks and calls those that the client names; None: nobody does.
        """
        self.id = f"sess_{secrets.token_hex(8)}"
        self._transport = transport
        self._model = model
        self._record = record
        self._end_of_turn = end_of_turn
        self._limits = limits
        self._ear = ear
        self._tool_servers = tool_servers
        self._clock = clock or WallClock()
        self._outbox = Outbox(limits.unsent)
        self._wanted = settings
        settings = usable(settings, model.capabilities)
        self._detector = TurnDetector(vad, settings, Patience(record.patience))
        self._dialogue = Dialogue(
            self.id,
            self._detector,
            model.capabilities,
            record.conversation,
            self._clock.now(),
            extensions=transport.extensions,
        )
        self._newest = self._clock.now()  # when the client's newest message came
        self._ahead = 0.0  # seconds of sound that came faster than at `limits.pace`
        self._heard = self._clock.now()  # when the newest sound came
        self._gap = _GAP  # seconds after it from which silence counts
        self._hearing = False  # it is being worked through
        self._stirred = asyncio.Event()  # the client wanted something
        self._rested = asyncio.Event()  # no reply is made or sounds
        self._errors: deque[float] = deque(maxlen=limits.errors)  # when the client sent the newest
        self._replies: dict[int, asyncio.Task[None]] = {}  # that the model makes, by their number
        self._scribes: set[asyncio.Task[None]] = (
            set()
        )  # who write down what was said, one at a time
        self._pen = asyncio.Lock()
        self._errands: set[asyncio.Task[None]] = set()  # to servers of tools
        self._weighing: set[asyncio.Task[None]] = set()  # what was said into a reply
        self._look: asyncio.Task[None] | None = None  # of the model, at an utterance that goes on
        self._alarm: asyncio.Task[None] | None = None
        self._tasks: asyncio.TaskGroup
        self._listener: asyncio.Task[None]

    @property
    def silent_for(self) -> float:
        """Seconds since the client has sent anything, or a reply to it was heard to its end."""
        if self._dialogue.state is not State.LISTENING:
            return 0.0
        return self._clock.now() - max(self._newest, self._dialogue.at_rest_since)

    async def run(self) -> None:
        """Serve until the client hangs up, the session expires or `drain` was called."""
        logger.info("%s begins", self.id)
        expires_at = round(time.time() + self._limits.length)
        self._outbox.tell(SessionStarted(self.id, self._detector.settings, expires_at))
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                if (
                    self._wanted.tools != self._detector.settings.tools
                    or self._wanted.tools.servers
                ):
                    # Says what the model cannot do, and asks the servers for their tools.
                    self._receive(SettingsChanged(self._wanted))
                keepers = [
                    tasks.create_task(self._outbox.empty(self._send)),
                    tasks.create_task(self._expire()),
                    tasks.create_task(self._give_up_if_too_slow()),
                    tasks.create_task(self._go_on_in_silence()),
                ]
                self._listener = tasks.create_task(self._listen())
                await asyncio.wait([self._listener])
                self._set_alarm(None)
                for task in (*keepers, *self._scribes, *self._errands, *self._weighing):
                    task.cancel()
        finally:
            logger.info("%s ends after %d turns", self.id, self._dialogue.turns)

    async def _listen(self) -> None:
        try:
            async for event in self._transport:
                self._newest = self._clock.now()
                if isinstance(event, AudioReceived):
                    await self._hear(event)
                else:
                    self._receive(event)
                self._stirred.set()
                if self._errs_on_and_on():
                    await self.hang_up(
                        TooManyErrors(f"{self._limits.errors} messages in a second were no events")
                    )
                await asyncio.sleep(0)  # a transport that has more does not wait for anything
        finally:
            self._receive(ClientLeft())

    async def drain(self, error: DuologueError) -> None:
        """Take no new turn, let the reply under way be heard, then hang up with `error`."""
        self._receive(DrainRequested())
        await self._rested.wait()
        await self.hang_up(error)

    async def hang_up(self, error: DuologueError) -> None:
        """Tell the client why, and end."""
        self._outbox.tell_last(ErrorOccurred(error))
        try:
            async with asyncio.timeout(self._limits.drain):
                await self._outbox.join()
                await self._transport.close(error)
        except (TimeoutError, ConnectionError):
            logger.info("%s does not read its last words", self.id)
        self._listener.cancel()

    async def _expire(self) -> None:
        await self._clock.sleep(self._limits.length)
        minutes = self._limits.length / 60
        await self.hang_up(
            SessionExpired(f"a session lasts {minutes:g} minutes at most; start a new one to go on")
        )

    async def _give_up_if_too_slow(self) -> None:
        await self._outbox.overflowed.wait()
        if error := self._outbox.overflow:
            self._receive(ClientLeft(error))
            await self.hang_up(error)

    def _errs_on_and_on(self) -> bool:
        errors = self._errors
        return len(errors) == errors.maxlen and errors[-1] - errors[0] < 1.0

    async def _send(self, event: ServerEvent) -> None:
        await self._transport.send(event)
        if isinstance(event, ReplyDelta) and event.audio:
            self._receive(SoundSent(event.item_id))

    # The sound that comes in.

    async def _hear(self, event: AudioReceived) -> None:
        """Let the dialogue have a sound, piece by piece: others must not wait for a long one."""
        chunk, start, self._hearing = event.chunk, 0.0, True
        self._gap = _GAP + min(chunk.duration, _PIECE)
        while start < chunk.duration:
            piece = chunk.between(start, start + _SLICE)
            self._receive(replace(event, chunk=piece))
            start += _SLICE
            await self._keep_pace(piece.duration)
        self._hearing = False

    async def _keep_pace(self, seconds: float) -> None:
        """Let others go on, and longer when this client sends sound faster than anybody can speak."""
        now = self._clock.now()
        self._ahead = max(0.0, self._ahead - (now - self._heard) * self._limits.pace) + seconds
        self._heard = now
        await (self._clock.sleep(_SLICE) if self._ahead > self._limits.ahead else asyncio.sleep(0))

    async def _go_on_in_silence(self) -> None:
        """When no sound comes any more (muted, a file that has ended), go on as if silence came then."""
        silent_to = self._heard
        while True:
            listening = self._dialogue.state is State.LISTENING
            if listening and self._detector.settings.idle_timeout is None:
                await self._stirred.wait()
            self._stirred.clear()
            step = _GAP if listening else _SLICE
            woken = max(self._heard + self._gap, self._clock.now() + step)
            await self._clock.sleep(woken - self._clock.now())
            now = self._clock.now()
            if self._hearing or now - woken > _STALL:
                self._heard = now  # what was sent meanwhile is to be heard first
            if now - self._heard < self._gap:
                continue
            late = self._gap - _SLICE
            missed, silent_to = now - max(self._heard + late, silent_to), now
            self._receive(SoundMissed(missed, late))

    # What the dialogue decides.

    def _receive(self, event: ClientEvent | Report) -> None:
        for effect in self._dialogue.receive(event, self._clock.now()):
            self._perform(effect)
        if self._dialogue.is_busy:
            self._rested.clear()
        else:
            self._rested.set()

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Send(event):
                self._outbox.tell(event)
            case Refuse(error, event_id):
                self._errors.append(self._clock.now())
                self._outbox.tell(ErrorOccurred(error, event_id))
            case Withhold(item_id):
                self._outbox.drop_sound(item_id)
            case WakeAt(time):
                self._set_alarm(time)
            case Save(item):
                self._record.save(item)
            case Forget(item):
                self._record.forget(item)
            case SaveFigures(turn):
                self._record.note(turn)
            case SavePatience(factor):
                self._record.patience = factor
            case _:
                self._ask_others(effect)

    def _ask_others(
        self,
        effect: Ask
        | Weigh
        | Start
        | Drop
        | Transcribe
        | ListTools
        | CallTool
        | Overhear
        | StopOverhearing,
    ) -> None:
        """What the model, an ear or a server of tools has to do, in a task of its own."""
        match effect:
            case Ask() | Weigh():
                self._ask_ears(effect)
            case Start(reply, prompt):
                self._replies[reply] = self._tasks.create_task(self._generate(reply, prompt))
            case Drop(reply):
                self._replies[reply].cancel()
            case Transcribe(item_id, sound):
                self._keep(self._scribes, self._transcribe(item_id, sound))
            case ListTools() | CallTool():
                busy = len(self._errands) >= self._limits.errands
                self._keep(self._errands, self._ask_server(effect, busy=busy))
            case Overhear(look, prompt):
                self._look = self._tasks.create_task(self._overhear(look, prompt))
            case StopOverhearing():
                if self._look:
                    self._look.cancel()

    def _ask_ears(self, effect: Ask | Weigh) -> None:
        match effect:
            case Ask(pause, sound) if self._end_of_turn:
                self._tasks.create_task(self._ask(self._end_of_turn, pause, sound))
            case Weigh():
                self._keep(self._weighing, self._weigh(effect))

    def _keep(self, tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
        """Let this be done beside the rest; what is not done when the session ends is given up."""
        task = self._tasks.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def _set_alarm(self, time: float | None) -> None:
        if self._alarm:
            self._alarm.cancel()
        self._alarm = None if time is None else self._tasks.create_task(self._wake_at(time))

    async def _wake_at(self, time: float) -> None:
        await self._clock.sleep(max(0.0, time - self._clock.now()))
        self._receive(Woken())

    async def _ask(self, end_of_turn: EndOfTurn, pause: int, sound: AudioChunk) -> None:
        asked = self._clock.now()
        probability = await end_of_turn(sound)
        metrics.record_smart_turn(None if probability is None else self._clock.now() - asked)
        if probability is not None:
            self._receive(EndOfTurnAnswered(pause, probability))

    async def _weigh(self, wanted: Weigh) -> None:
        words = None
        try:
            model = cast(Transcriber, self._model)
            language, likely = wanted.language, wanted.likely
            words, _ = await model.transcribe(wanted.sound, language, likely=likely)
        except DuologueError as error:
            logger.debug("%s: what was said into a reply is not known: %s", self.id, error)
        except Exception:
            logger.exception("%s: the model failed as it transcribed", self.id)
        self._receive(WordsTold(wanted.number, words))

    async def _generate(self, reply: int, prompt: Prompt) -> None:
        try:
            error = await self._take_chunks(reply, prompt)
        except DuologueError as failure:
            error = failure
        except Exception as failure:
            logger.exception("%s: the model failed", self.id)
            error = ModelFailed(f"the model failed: {failure or type(failure).__name__}")
        finally:
            del self._replies[reply]
        self._receive(ReplyEnded(reply, error))

    async def _take_chunks(self, reply: int, prompt: Prompt) -> DuologueError | None:
        """Give the dialogue what the model says, unless the client takes too little of it."""
        async with aclosing(self._model.reply(prompt)) as chunks:
            async for chunk in chunks:
                self._receive(ChunkGenerated(reply, chunk))
                if self._outbox.overflow:
                    break
        return self._outbox.overflow

    async def _transcribe(self, item_id: str, sound: AudioChunk) -> None:
        words, error = "", None
        try:
            words = await self._write_down(sound)
        except DuologueError as failure:
            error = failure
        except Exception as failure:
            logger.exception("%s: the model failed as it transcribed", self.id)
            error = ModelFailed(f"the model failed: {failure or type(failure).__name__}")
        self._receive(Transcribed(item_id, words, error))

    async def _write_down(self, sound: AudioChunk) -> str:
        if len(self._scribes) > self._limits.scribes:
            raise TooManyReplies(
                f"{self._limits.scribes} utterances wait to be written down already"
            )
        async with self._pen:
            return await self._words_of(sound)

    async def _words_of(self, sound: AudioChunk) -> str:
        """The words that the model hears; those of the ear, where it hears none and they are wanted."""
        settings = self._detector.settings
        ear = self._ear if settings.wants_words else None
        if hasattr(self._model, "transcribe"):
            model = cast(Transcriber, self._model)
            try:
                words, _ = await model.transcribe(sound, settings.language, self.id)
            except NotOffered:
                if not ear:
                    raise
            else:
                return words
        if not ear:
            raise NotOffered("this model writes down nothing that is said")
        words, _ = await ear.transcribe(sound, settings.language)
        return words

    async def _ask_server(self, effect: ListTools | CallTool, *, busy: bool) -> None:
        await (
            self._list_tools(effect.item_id, effect.server, busy=busy)
            if isinstance(effect, ListTools)
            else self._call_tool(effect)
        )

    async def _list_tools(self, item_id: str, server: ToolServer, *, busy: bool) -> None:
        functions: tuple[Function, ...] = ()
        error: DuologueError | None = NotOffered("this server calls no tools of other servers")
        if busy:
            error = TooManyReplies(f"{self._limits.errands} servers of tools are asked already")
        elif self._tool_servers:
            try:
                functions, error = await self._tool_servers.list(server), None
            except DuologueError as failure:
                error = failure
        self._receive(ToolsListed(item_id, functions, error))

    async def _call_tool(self, call: CallTool) -> None:
        assert self._tool_servers  # who else has told that there is this function
        answer = await self._tool_servers.call(call.server, call.name, call.arguments)
        if isinstance(answer, ToolFailure):
            self._receive(ToolAnswered(call.item_id, failure=answer))
        else:
            self._receive(ToolAnswered(call.item_id, answer))

    async def _overhear(self, look: int, prompt: Prompt) -> None:
        words = ""
        try:
            model: Overhearer = self._model  # type: ignore[assignment]  # its capabilities say so
            words = await model.overhear(prompt)
        except DuologueError as error:
            # The reply will tell; what is overheard only saves time.
            logger.debug("%s: not overheard: %s", self.id, error)
        except Exception:
            logger.exception("%s: the model failed as it overheard", self.id)
        self._receive(Overheard(look, words))
