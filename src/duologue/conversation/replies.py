"""The replies of a session: what the model makes of them, what the client was sent, what was played. Pure.

When a reply may be heard, the floor decides (`floor.py`). This is what a reply is then.
"""

import logging
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from duologue import metrics
from duologue.conversation.effects import (
    Drop,
    Effect,
    Save,
    SaveFigures,
    SavePatience,
    Send,
    Start,
    Transcribe,
    WakeAt,
    Withhold,
)
from duologue.conversation.events import (
    ErrorOccurred,
    FunctionCalled,
    ReplyDelta,
    ReplyDone,
    ReplyItemAdded,
    ReplyRequested,
    ReplyStarted,
    UserNotTranscribed,
    UserTranscribed,
)
from duologue.conversation.items import (
    Conversation,
    FunctionCall,
    Item,
    ReplyChunk,
    Response,
    Status,
    Turn,
    Usage,
    copy,
)
from duologue.conversation.prompt import Prompt
from duologue.conversation.remote_tools import RemoteTools
from duologue.conversation.stopped import Stopped
from duologue.errors import DuologueError
from duologue.timings import CutBy, Timings
from duologue.tools import NO_TOOLS, Tools
from duologue.turns.patience import Patience

logger = logging.getLogger(__name__)

_ASKED = 2.0  # seconds after the end of a question in which it is answered
_ASKING = 0.5  # seconds before that, likewise
_RUSHED = 0.25  # seconds by which sound comes too fast, from which a client plays nothing
_HEARD, _SPOKEN = 10, 20  # tokens of a second of sound that comes in, and goes out: the API's rule

Reason = Literal["turn_detected", "client_cancelled"]
"""Why a reply is stopped."""


@dataclass(slots=True)
class Reply:
    """A reply that is made, or sounds.

    Attributes:
        number: of the reply, as the session and the model know it.
        response: of the conversation.
        asked: what the client asked for.
        begun: when the model was asked, by the session's clock.
        since: from when its timings counts: the last word, or else `begun`.
        waiting: what the model has made, and the client was not sent yet.
        sent: what the client was sent, in words and sound, whatever it has played of it.
        previous_id: of the item before that of the reply.
        after: the newest item as the reply was announced: its own stand behind that one, and before what is
            written meanwhile. None: there was none.
        said: the words that the client was sent.
        seconds: of sound that the client was sent.
        ended: the model has made all of it, or has failed.
        error: why it failed.
        sealed: it was truncated: what comes now is not part of its item.
        calls: items of the functions that it has called.
        tools: that it may call.
        heard: seconds of the utterance that is answered.
        usage: what the model tells of the text.
        incomplete: it ends because it has as many tokens as it might have.
        again: it is one that was stopped, and was taken up.
    """

    number: int
    response: Response
    asked: ReplyRequested
    begun: float
    since: float
    waiting: list[ReplyChunk] = field(default_factory=list)
    sent: list[ReplyChunk] = field(default_factory=list)
    previous_id: str | None = None
    after: Item | None = None
    said: str = ""
    seconds: float = 0.0
    ended: bool = False
    error: DuologueError | None = None
    sealed: bool = False
    calls: list[Item] = field(default_factory=list)
    tools: Tools = NO_TOOLS
    heard: float = 0.0
    usage: Usage = Usage()  # noqa: RUF009  frozen
    incomplete: bool = False
    again: bool = False

    @property
    def item(self) -> Item | None:
        """What it has made; None: nothing yet."""
        return self.response.item

    @property
    def is_audible(self) -> bool:
        """Whether there is sound that waits, or words of a reply that has no sound."""
        return any(chunk.audio or (chunk.text and not self.asked.aloud) for chunk in self.waiting)

    @property
    def plays_until(self) -> float:
        """When it will have been played, by the session's clock, if it is played without a hole."""
        return (self.response.sounds_at or 0.0) + self.seconds


class Replies:
    """One is made at a time; those that are made are played one after the other.

    Attributes:
        now: by the session's clock; to be set before anything else is done.
        effects: what has to be done, in this order; to be emptied by whoever does it.
        tools: of servers, that replies may call.
        made: that the model makes, in secret or not.
        playing: that are made, and not played to their end.
        stopped: the last one that was stopped while it sounded; None: none, or it was taken up.
    """

    def __init__(
        self, session_id: str, conversation: Conversation, patience: Patience, now: float
    ) -> None:
        self.now = now
        self.effects: list[Effect] = []
        self.tools = RemoteTools(conversation, lambda effect: self.effects.append(effect))
        self.made: Reply | None = None
        self.playing: list[Reply] = []
        self.stopped: Stopped | None = None
        self._held_at: float | None = None  # by the session's clock: what sounds is held since then
        self._lead = 0.0  # seconds by which sound came too fast for speech, since a reply sounds
        self._lead_at = now
        self._id = session_id
        self._conversation = conversation
        self._patience = patience
        self._aside: dict[
            int, Reply
        ] = {}  # by number: out of band, which the floor knows nothing of
        self._count = 0
        self._closed: list[Reply] = []  # the last that is over: reports of it may still come
        self._wordless: set[str] = set()  # ids of items of which the client was told so

    @property
    def asides(self) -> int:
        """How many are made out of band."""
        return len(self._aside)

    @property
    def plays_until(self) -> float:
        """When all that is made will have been played."""
        held = 0.0 if self._held_at is None else self.now - self._held_at
        return max((reply.plays_until + held for reply in self.playing), default=self.now)

    @property
    def sounding(self) -> str:
        """The newest item that sounds."""
        return next(reply.item.id for reply in reversed(list(self._all())) if reply.item)

    @property
    def asks(self) -> bool:
        """Whether a question has just been heard: a short answer is one, then."""
        now = self.now if self._held_at is None else self._held_at
        for reply in self._all():
            at = now - (now if reply.response.sounds_at is None else reply.response.sounds_at)
            if reply.item and 0 < at < reply.seconds + _ASKED:
                return any(at - _ASKED <= asked <= at + _ASKING for asked in reply.item.questions())
        return False

    def hear(self, seconds: float) -> None:
        """So much sound has come from the client."""
        self._lead = max(0.0, self._lead - (self.now - self._lead_at)) + seconds
        self._lead_at = self.now

    def start(
        self, asked: ReplyRequested, answers: Item | None, prompt: Prompt, since: float
    ) -> None:
        """Let the model make a reply.

        Args:
            asked: by the client, or for it.
            answers: the spoken item that is answered; None: the conversation as it stands.
            prompt: for the model.
            since: from when the timings counts.
        """
        name, timings = secrets.token_hex(12), Timings()
        if answers and not answers.response:
            name, timings = answers.turn_id, answers.timings
        response = Response(f"resp_{name}", answers, timings=timings)
        if answers:  # of several responses to one item, the newest is what was answered
            answers.response, answers.timings = response, timings
        timings.started = self.now - since
        self.made = self._begin(response, asked, prompt, since)

    def take_up(self, rest: list[ReplyChunk], asked: ReplyRequested | None = None) -> None:
        """Let the reply that is made be the rest of one that was stopped.

        Args:
            rest: of that one.
            asked: by the client, for this alone; None: it is made in place of what the model makes.
        """
        self._count += 1
        if asked:
            response = Response(f"resp_{secrets.token_hex(12)}", timings=Timings(started=0.0))
            self.made = Reply(self._count, response, asked, self.now, self.now)
        elif not (self.made and self.made.ended):
            assert self.made
            self.effects.append(Drop(self.made.number))
        assert self.made
        made = self.made
        made.number, made.ended, made.again = self._count, True, True
        made.waiting = [replace(chunk, audio=None, text="") for chunk in made.waiting]
        made.waiting += rest if made.asked.aloud else [replace(part, audio=None) for part in rest]
        timings = made.response.timings
        timings.first_token = timings.first_sound = self.now - made.since

    def start_aside(self, asked: ReplyRequested, prompt: Prompt) -> None:
        """Let the model make a reply out of band: it is sent as it is made, and nobody interrupts it."""
        response = Response(f"resp_{secrets.token_hex(12)}", timings=Timings(started=0.0))
        reply = self._begin(response, asked, prompt, self.now)
        self._aside[reply.number] = reply
        self.effects.append(Send(ReplyStarted(response.id, asked)))

    def _begin(
        self, response: Response, asked: ReplyRequested, prompt: Prompt, since: float
    ) -> Reply:
        self._count += 1
        prompt = replace(
            prompt,
            aloud=bool(asked.aloud),
            voice=asked.voice or "",
            speed=asked.speed or 1.0,
            max_output_tokens=asked.max_output_tokens or 0,
        )
        self.effects.append(Start(self._count, prompt))
        heard = prompt.utterance.duration
        return Reply(self._count, response, asked, self.now, since, tools=prompt.tools, heard=heard)

    def announce(self) -> None:
        """Tell the client that a reply is made."""
        if self.made:
            self.made.after = self._conversation.newest
            self.effects.append(Send(ReplyStarted(self.made.response.id, self.made.asked)))

    # What the model gives.

    def take(self, number: int, chunk: ReplyChunk) -> None:
        """The model has made a piece of the reply `number`; one that is not wanted any more dies here."""
        reply = self._of(number)
        if not reply:
            return
        timings, since = reply.response.timings, self.now - reply.since
        if timings.first_token is None and (chunk.audio or chunk.text):
            timings.first_token = since
        if chunk.audio and timings.first_sound is None:
            timings.first_sound = since
            if reply is self.made:
                self._patience.learn(self.now - reply.begun)
        reply.usage = chunk.usage or reply.usage
        reply.incomplete = reply.incomplete or chunk.incomplete
        if not reply.asked.aloud:
            chunk = replace(chunk, audio=None)
        if reply is self.made:
            reply.waiting.append(chunk)
        else:
            self._send_chunk(reply, chunk)

    def end(self, number: int, error: DuologueError | None) -> None:
        """The model has made all of the reply `number`, or has failed."""
        if reply := self._of(number):
            reply.ended, reply.error = True, error
            if self._aside.pop(number, None):
                self._tell_end(reply)

    def _of(self, number: int) -> Reply | None:
        """The reply of this number, if it is wanted yet."""
        if self.made and number == self.made.number:
            return self.made
        return self._aside.get(number)

    # What the client gets.

    def send_waiting(self) -> None:
        """Send what there is of the reply."""
        if reply := self.made:
            waiting, reply.waiting = reply.waiting, []
            for chunk in waiting:
                self._send_chunk(reply, chunk)

    def _send_chunk(self, reply: Reply, chunk: ReplyChunk) -> None:
        response, answered = reply.response, reply.response.answers
        # Of an item that goes on with another, the model has heard more than is in it.
        if chunk.user_text is not None and answered and not answered.continues:
            self.transcribe(answered, chunk.user_text)
        if chunk.call:
            self._add_call(reply, chunk.call)
        if not chunk.audio and not chunk.text:
            return
        item = response.item or self._add_item(reply)
        reply.sent.append(ReplyChunk(chunk.audio, chunk.text))
        if not reply.sealed:
            item.spoken.append(chunk)
        reply.said += chunk.text
        if chunk.audio:
            if response.sounds_at is None and reply is self.made:
                # What is held goes on later; `go_on` adds for how long.
                now = self.now if self._held_at is None else self._held_at
                response.sounds_at = max([now, *(one.plays_until for one in self.playing)])
                self._lead, self._lead_at = 0.0, self.now
            reply.seconds += chunk.audio.duration
        aloud = bool(reply.asked.aloud)
        self.effects.append(Send(ReplyDelta(response.id, item.id, chunk.audio, chunk.text, aloud)))

    def transcribe(self, item: Item, words: str) -> None:
        """What the user said is known: the client is told, if it was not told that it will not be."""
        if item.sound and item.words is None:
            item.words = words
            self._save(item)
            if item.id not in self._wordless and item in self._conversation:
                transcribed = UserTranscribed(item.id, words, item.sound.duration)
                self.effects.append(Send(transcribed))

    def give_up_words(self, item: Item, error: DuologueError) -> None:
        """Nobody could write down what the user said; a reply that is made may tell it yet."""
        answered = self.made and self.made.response.answers is item
        told = item.id in self._wordless or item not in self._conversation
        if item.words is None and not answered and not told:
            self._wordless.add(item.id)
            self.effects.append(Send(UserNotTranscribed(item.id, error)))

    def ask_for_words(self, item: Item | None) -> None:
        """Have somebody write down what the user said, if no reply has told it."""
        if item and item.sound and item.words is None:
            self.effects.append(Transcribe(item.id, item.sound))

    def _add_item(self, reply: Reply) -> Item:
        """Begin the item that a reply makes."""
        response = reply.response
        name = response.id.removeprefix("resp_")
        item = response.item = Item(f"item_a{name}", "assistant", response=response)
        reply.previous_id = self._keep(reply, item)
        added = ReplyItemAdded(response.id, item.id, reply.previous_id, reply.asked)
        self.effects.append(Send(added))
        return item

    def _add_call(self, reply: Reply, call: FunctionCall) -> None:
        """A reply calls a function."""
        item = self.tools.item_of(call, reply.tools)
        reply.calls.append(item)
        previous_id = self._keep(reply, item)
        called = FunctionCalled(reply.response.id, copy(item), previous_id, reply.asked)
        self.effects.append(Send(called))

    def _keep(self, reply: Reply, item: Item) -> str | None:
        """Make an item of a reply part of the conversation; the id of the one before."""
        if not reply.asked.in_band:
            return None
        gone = reply.after and reply.after not in self._conversation
        before = self._conversation.newest if gone else reply.after
        self._conversation.add(item, before, first=before is None)
        reply.after = item
        self._save(item)
        return before.id if before else None

    def finish(self) -> None:
        """The model has made all of it: the client is told. What sounds goes on to be played."""
        if not (reply := self.made):
            return
        self.send_waiting()
        self.made = None
        self.playing.append(reply)
        self._tell_end(reply)
        self.ask_for_words(reply.response.answers)
        self.tools.begin(reply.calls)
        self.effects.append(WakeAt(reply.plays_until))

    def _tell_end(self, reply: Reply) -> None:
        """The model has made all of it, or has failed: the client is told."""
        reason = "max_output_tokens" if reply.incomplete else "completed"
        if reply.error:
            self._set_status(reply, "failed")
            self.effects.append(Send(ErrorOccurred(reply.error)))
        else:
            whole = not reply.sealed and not reply.incomplete
            self._set_status(reply, "completed" if whole else "interrupted")
        self._send_done(reply, "failed" if reply.error else reason)

    def _send_done(self, reply: Reply, reason: str) -> None:
        item, said = reply.item, reply.said.strip()
        done = ReplyDone(
            reply.response.id,
            item.id if item else None,
            said,
            reason,
            reply.error,
            reply.response.timings,
            reply.previous_id,
            reply.asked,
            tuple(copy(call) for call in reply.calls),
            replace(
                reply.usage,
                input_audio=round(reply.heard * _HEARD),
                output_audio=round(reply.seconds * _SPOKEN),
            ),
        )
        self.effects.append(Send(done))

    def _set_status(self, reply: Reply, status: Status) -> None:
        reply.response.status = status
        if reply.item:
            reply.item.status = status
            self._save(reply.item)

    # A pause.

    def hold(self) -> None:
        """Nothing is played from now on."""
        self._held_at = self.now

    def go_on(self) -> None:
        """What was held goes on, and will have been played so much later."""
        self._end_hold()
        if self.playing:
            self.effects.append(WakeAt(self.plays_until))

    def _end_hold(self) -> None:
        held_at, self._held_at = self._held_at, None
        for reply in self._all():
            if held_at is not None and reply.response.sounds_at is not None:
                reply.response.sounds_at += self.now - held_at

    # The end.

    def close(self) -> None:
        """All that is made was played to its end."""
        self._end_hold()
        played, self.playing = self.playing, []
        if any(reply.again for reply in played):
            self.stopped = None
        for reply in played:
            if not reply.sealed:
                reply.response.timings.heard = reply.item.seconds if reply.item else 0.0
            self._close(reply, whole=True)

    def drop(self, *, committed: bool, gone: bool = False) -> None:
        """Take back a reply that nobody was told of.

        Args:
            committed: what it answers is part of the conversation already.
            gone: the client has left; there is nobody to tell what was said.
        """
        reply, self.made = self.made, None
        if not reply:
            return
        if not reply.ended:
            self.effects.append(Drop(reply.number))
        if answered := reply.response.answers:
            timings = answered.timings
            decided = timings.decided if committed else None
            answered.timings = Timings(decided=decided, drops=timings.drops + 1)
            answered.response = None
            if committed and not gone:
                self.ask_for_words(answered)

    def stop(
        self, reason: Reason, *, whole: bool, failed: bool = False, gone: bool = False
    ) -> None:
        """Stop what is made and what sounds.

        How much was played goes by the clock; a client that knows better truncates more. But one that
        sends sound faster than anybody speaks does not play what it gets: to it, a reply that is made
        is whole.

        Args:
            reason: that the client is told.
            whole: so it is for this client.
            failed: the client does not get it.
            gone: the client has left; there is nobody to tell what was said.
        """
        asked = self.asks
        self._end_hold()
        whole = whole or self._lead - (self.now - self._lead_at) >= _RUSHED
        made, self.made = self.made, None
        played, self.playing = self.playing, []
        if reason == "turn_detected" and (played or (made and made.seconds)):
            metrics.record_stop()
        cut = [*played, *([made] if made else [])]
        if sounding := next((one for one in cut if one.item and one.plays_until > self.now), None):
            self.stopped = self._stopped(sounding, asked=asked)
        for reply in cut:
            # Stop first, then tell: a slow client must not delay the stop.
            if not reply.ended:
                self.effects.append(Drop(reply.number))
            if reply.item:
                self.effects.append(Withhold(reply.item.id))
            if failed or reply is made:
                self._set_status(reply, "failed" if failed else "interrupted")
            if reply.response.timings.heard is None:
                self._cut_unheard(reply, whole=whole and reply is not made)
            if reply is made:
                self._send_done(reply, reason)
                self.tools.give_up(reply.calls)
                if not gone:
                    self.ask_for_words(reply.response.answers)
            self._close(reply)

    def _stopped(self, reply: Reply, *, asked: bool) -> Stopped | None:
        """What can go on of this reply: nothing, unless the model has made all of it."""
        whole = reply.ended and not reply.error and not reply.incomplete
        if not whole or not reply.item:
            return None
        return Stopped(reply.item, reply.sent, self.now, asked, reply.again)

    def _cut_unheard(self, reply: Reply, *, whole: bool) -> None:
        sounds_at, played = reply.response.sounds_at, 0.0
        if sounds_at is not None:
            played = reply.seconds if whole else max(0.0, self.now - sounds_at)
        if reply.item:
            self.cut(reply.item, played)
        else:
            reply.response.timings.heard = 0.0

    def cancel_aside(self, response_id: str | None) -> bool:
        """Stop the reply out of band that has this id (None: all of them). Whether there is one."""
        stopped = [
            reply for reply in self._aside.values() if response_id in (None, reply.response.id)
        ]
        for reply in stopped:
            del self._aside[reply.number]
            self.effects.append(Drop(reply.number))
            if reply.item:
                self.effects.append(Withhold(reply.item.id))
            self._set_status(reply, "interrupted")
            self._send_done(reply, "client_cancelled")
        return bool(stopped)

    def has(self, response_id: str) -> bool:
        """Whether this reply is made, or sounds, and is not out of band."""
        return any(reply.response.id == response_id for reply in self._all())

    def note_sent(self, item_id: str) -> None:
        """Sound of this item was handed to the connection."""
        for reply in (*self._all(), *self._closed):
            timings = reply.response.timings
            if reply.item and reply.item.id == item_id and timings.sent is None:
                timings.sent = self.now - reply.since

    def note_playback(self, item_id: str, ago: float) -> None:
        """The first sound of this item was played. A report that comes too late is worth nothing."""
        for reply in (*self._all(), *self._closed):
            timings, answered = reply.response.timings, reply.response.answers
            if reply.item and reply.item.id == item_id and timings.sent is not None:
                timings.played = max(timings.sent, self.now - reply.since - ago)
                if answered:
                    self.effects.append(SaveFigures(Turn(answered)))

    def seal(self, item: Item) -> None:
        """Let an item that is still made grow no further."""
        if self.made and self.made.item is item:
            self.made.sealed = True

    def cut(self, item: Item, played: float) -> None:
        """Keep of an item what was played of it, in seconds. Words alone are read, not played."""
        if not any(chunk.audio for chunk in item.spoken):
            return
        item.truncate(played)
        self._save(item)
        if response := item.response:
            response.timings.heard = item.seconds
            if response.answers:
                self.effects.append(SaveFigures(Turn(response.answers)))

    def _close(self, reply: Reply, *, whole: bool = False) -> None:
        """A reply is over: its figures are complete, but for what the client may still report.

        Args:
            reply: to a turn, or to the conversation as it stands.
            whole: it was played to its end, so its user may be waited for less again.
        """
        response, self._closed = reply.response, [reply]
        if not response.answers:
            return
        turn, timings = Turn(response.answers), response.timings
        self.effects.append(SaveFigures(turn))
        metrics.record_turn(timings, turn.status)
        figures = ", ".join(f"{name} {value}" for name, value in timings.metadata().items())
        logger.info("%s: turn %s %s: %s", self._id, turn.id, turn.status, figures)
        if whole and not timings.cut and self._patience.factor > 1:
            self._patience.clean()
            self.effects.append(SavePatience(self._patience.factor))

    def note_cut(self, turn: Turn, by: CutBy) -> None:
        """This turn was ended too early: wait longer for this user from now on."""
        turn.timings.cut = by
        self._patience.cut()
        self.effects += [SaveFigures(turn), SavePatience(self._patience.factor)]
        metrics.record_cut(by)
        factor = self._patience.factor
        logger.info("%s: cut off (%s), patience is %.2f now", self._id, by, factor)

    def _save(self, item: Item) -> None:
        """Keep what is part of the conversation: not what is out of band, or was deleted."""
        if item in self._conversation:
            self.effects.append(Save(item))

    def _all(self) -> Iterator[Reply]:
        yield from self.playing
        if self.made:
            yield self.made
