"""What a client asks to be answered, and what the model is asked then. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from duologue.audio import INPUT_RATE, AudioChunk, silence
from duologue.conversation.events import ReplyRequested
from duologue.conversation.items import Conversation, Item, as_functions
from duologue.conversation.prompt import Capabilities, Prompt, usable
from duologue.errors import InvalidEvent, quoted
from duologue.settings import Settings
from duologue.tools import Tools
from duologue.turns.detector import TurnDetector


@dataclass(frozen=True, slots=True)
class Question:
    """What a client asks to be answered.

    Attributes:
        utterance: what was said; empty: the answer is to the items.
        items: the others, oldest first.
        answers: the item of the conversation that has the utterance.
    """

    utterance: AudioChunk
    items: Sequence[Item]
    answers: Item | None


class Asking:
    """Makes, of what is said and what the client wants, what the model is asked."""

    def __init__(
        self,
        session_id: str,
        detector: TurnDetector,
        capabilities: Capabilities,
        conversation: Conversation,
        offer: Callable[[Tools], Tools],
    ) -> None:
        """Nothing is asked yet.

        Args:
            session_id: that the model is told.
            detector: which has the session's settings.
            capabilities: of the model.
            conversation: that is gone on with.
            offer: the tools that the model may use, of those that the client names.
        """
        self._id = session_id
        self._detector = detector
        self._capabilities = capabilities
        self._conversation = conversation
        self._offer = offer

    def completed(self, asked: ReplyRequested) -> ReplyRequested:
        """What is asked for, with what the session has where it names nothing, as far as the model can."""
        settings = self._detector.settings
        voice = asked.voice or ""
        voice = voice if voice in self._capabilities.voices else settings.voice
        speed = settings.speed if asked.speed is None else asked.speed
        limit = asked.max_output_tokens
        limit = settings.max_output_tokens if limit is None else limit
        wanted = replace(settings, voice=voice, speed=speed, max_output_tokens=limit)
        used = usable(wanted, self._capabilities)
        return replace(
            asked,
            aloud=settings.aloud if asked.aloud is None else asked.aloud,
            voice=used.voice,
            speed=used.speed,
            max_output_tokens=used.max_output_tokens,
        )

    def question_of(self, asked: ReplyRequested) -> Question:
        """What a request is about: the newest utterance, if only system messages follow it, or the items.

        Raises:
            InvalidEvent: it refers to an item that is not there, or the model cannot answer it.
        """
        question = self._question_of(asked)
        if not question.utterance.duration and not self._capabilities.reads:
            raise InvalidEvent(
                "there is nothing to answer: this model answers what is said, not what is written; "
                "commit some audio first"
            )
        return question

    def prompt_of(self, question: Question, asked: ReplyRequested) -> Prompt:
        """What the model is asked where the client asks."""
        prompt = self.prompt(question.utterance, question.items, 0, asked)
        return replace(prompt, spoken=bool(question.utterance.duration))

    def prompt(
        self,
        utterance: AudioChunk,
        items: Sequence[Item],
        pause: int,
        asked: ReplyRequested | None = None,
    ) -> Prompt:
        """What the model is asked about what is said.

        Args:
            utterance: what is said.
            items: what was said before.
            pause: number of the pause in which it is asked; 0: in none.
            asked: what counts for this reply alone.
        """
        settings = self._detector.settings
        prompt = Prompt(
            utterance,
            as_functions(items),
            settings.instructions,
            self._id,
            pause,
            aloud=settings.aloud,
            tools=self._offer(settings.tools),
            voice=settings.voice,
            speed=settings.speed,
            max_output_tokens=settings.max_output_tokens,
        )
        if asked and asked.instructions is not None:
            prompt = replace(prompt, instructions=asked.instructions)
        if asked and asked.tools is not None:
            prompt = replace(prompt, tools=self._offer(asked.tools))
        return prompt

    def _question_of(self, asked: ReplyRequested) -> Question:
        items = self._conversation.for_models()
        if asked.input is not None:
            items = [self._item_of(part) for part in asked.input]
        spoken = next((item for item in reversed(items) if item.role != "system"), None)
        if not spoken or not spoken.sound:
            return Question(silence(0, INPUT_RATE), items, None)
        if asked.input is not None:
            rest = [item for item in items if item is not spoken]
            return Question(spoken.sound, rest, None)
        rest = [item for item in items if item not in spoken.chain]
        return Question(spoken.utterance, rest, spoken)

    def _item_of(self, part: Item | str) -> Item:
        """An item of a request; a reference is the id of one that is there."""
        if isinstance(part, Item):
            return part
        item = self._conversation.find(part)
        if not item:
            raise InvalidEvent(
                f"response.input refers to the item {quoted(part)}, which does not exist"
            )
        return item


def names_any(tools: Tools) -> bool:
    """Whether there is anything that may be called."""
    return bool(tools.functions or tools.servers)


def asks_for(settings: Settings) -> tuple[object, ...]:
    """What a reply that is begun goes by."""
    return settings.instructions, settings.tools, manner(settings)


def manner(asked: Settings | ReplyRequested) -> tuple[object, ...]:
    """How a reply is given."""
    return asked.aloud, asked.voice, asked.speed, asked.max_output_tokens
