"""How a session takes turns and answers. Pure."""

from dataclasses import dataclass
from typing import Literal

from duologue.audio import LineFormat
from duologue.tools import NO_TOOLS, Tools

PatienceSetting = Literal["quick", "normal", "patient", "fixed"]
"""How long a pause may be: three settings that go by how finished it sounds, or `Settings.silence`."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a session takes turns; the Realtime API's `session`, in seconds.

    Attributes:
        turn_detection: the server finds the end of a turn; False: the client commits (push to talk).
        threshold: speech probability, 0..1, from which a window counts as speech.
        prefix_padding: seconds of sound kept from before the first word.
        patience: how long a pause may be; the Realtime API's `semantic_vad` with its eagerness
            (high, medium, low), or with "fixed" its `server_vad`.
        silence: seconds of silence that end a turn when `patience` is "fixed".
        time_limit: seconds after which an utterance ends in any case. The server's alone.
        create_response: answer every turn without being asked.
        interrupt_response: speech stops the reply; False: the reply goes on, and what is said is a turn of
            its own beside it.
        half_duplex: without `interrupt_response`, what comes in during a reply is not heard at all.
        idle_timeout: seconds of silence after which the client is told, and the model says something of its
            own, but to clients with extensions; None: never.
        instructions: for models that take them.
        aloud: replies are spoken; False: they are words alone.
        sound_in: how the client sends its sound.
        sound_out: how it gets that of replies.
        tools: that the model may call.
        only_words: what is said is written down and never answered: the API's transcription session.
        language: that is spoken, for those who write it down, ISO 639-1; empty: it is found out.
        wants_words: the client wants the words of what is said. Models that know them tell them anyway.
        voice: that replies are spoken with; empty: the model's usual one.
        speed: of that voice; 1 is usual.
        max_output_tokens: tokens of text that a reply may have; 0: as many as the model likes.
    """

    turn_detection: bool = True
    threshold: float = 0.5
    prefix_padding: float = 0.3
    patience: PatienceSetting = "normal"
    silence: float = 0.5
    time_limit: float = 30.0
    create_response: bool = True
    interrupt_response: bool = True
    half_duplex: bool = False
    idle_timeout: float | None = None
    instructions: str = ""
    aloud: bool = True
    sound_in: LineFormat = "pcm24"
    sound_out: LineFormat = "pcm24"
    tools: Tools = NO_TOOLS
    only_words: bool = False
    language: str = ""
    wants_words: bool = False
    voice: str = ""
    speed: float = 1.0
    max_output_tokens: int = 0
