"""All that can be set, in one tree: defaults here, then a TOML file, the environment, the flags."""

import dataclasses
import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from duologue.errors import InvalidSetting, quoted
from duologue.settings import PatienceSetting
from duologue.system.folders import expand
from duologue.transports.address import parse_origin, split_host
from duologue.transports.subpath import is_path

PREFIX = "DUOLOGUE_"

_T = TypeVar("_T")


def _setting(default: _T, meaning: str) -> _T:
    """A field of `Config` that says in `--help` what it is for."""
    setting: _T = field(default=default, metadata={"help": meaning})
    return setting


def _key(of: str) -> str:
    """A field for a key, which no flag sets and nobody is shown."""
    meaning = f"of the server of --{of}. From the environment or the file only."
    key: str = field(default="", repr=False, metadata={"help": meaning, "flag": False})
    return key


@dataclass(frozen=True, slots=True)
class Config:
    """A server's settings, each with its help text. File and environment know them by these names."""

    model: str = _setting(
        "auto",
        "mini-omni, cascade, echo, or a module's dotted name; auto: mini-omni if it is there.",
    )
    model_options: Mapping[str, str] = field(
        default_factory=dict,
        metadata={
            "help": "for the model's load(); a table in the file, `name=value` pairs elsewhere."
        },
    )
    stt: str = _setting(
        "",
        "what hears in the cascade: whisper-base, whisper-tiny.en, or the address of a server with "
        "/audio/transcriptions. Empty: the best that is quick here.",
    )
    stt_model: str = _setting("", "what that server calls its model. Empty: its only one.")
    stt_key: str = _key("stt")
    llm: str = _setting(
        "",
        "what thinks in the cascade: smollm2-135m, qwen2.5-0.5b, qwen2.5-1.5b, a GGUF file, or the address "
        "of a server with OpenAI's "
        "/chat/completions, as http://127.0.0.1:11434/v1. Empty: smollm2-135m.",
    )
    llm_model: str = _setting("", "what that server calls its model. Empty: its only one.")
    llm_key: str = _key("llm")
    tts: str = _setting(
        "",
        "what speaks in the cascade: kokoro, espeak, or the address of a server with "
        "/audio/speech. Empty: kokoro, unless it is slow here.",
    )
    tts_model: str = _setting("", "what that server calls its model. Empty: its only one.")
    tts_key: str = _key("tts")
    realtime: str = _setting(
        "",
        "address of a server with the Realtime API, as wss://api.openai.com/v1/realtime: it hears, speaks.",
    )
    realtime_model: str = _setting("", "what that server calls its model. Empty: its only one.")
    realtime_key: str = _key("realtime")
    voice: str = _setting(
        "",
        "in which the cascade speaks: af_heart and so on; of espeak-ng, en-gb; of a server, alloy.",
    )
    speed: float = _setting(1.0, "at which the cascade speaks, 0.5 to 2.")
    language: str = _setting(
        "", "that is spoken with the cascade, as en or de. Empty: as it is heard."
    )
    host: str = _setting(
        "127.0.0.1",
        "address to serve on. 0.0.0.0: everybody who reaches this machine may talk with it, "
        "but browsers give the microphone to pages on localhost or https only.",
    )
    port: int = _setting(7860, "to serve on.")
    tls_cert: str = _setting(
        "",
        "file with a certificate and its chain (PEM): serve https and wss instead; with tls_key.",
    )
    tls_key: str = _setting("", "file with the private key of that certificate (PEM), unencrypted.")
    root_path: str = _setting(
        "", "path below which a reverse proxy serves this, as /duologue; cut off by it or not."
    )
    allow_origin: tuple[str, ...] = _setting(
        (), "web pages that may connect besides the server's own, as https://host."
    )
    allow_host: tuple[str, ...] = _setting(
        (), "names of this server besides the machine's own, as voice.example.com; *: all."
    )
    allow_frame: tuple[str, ...] = _setting(
        (), "web pages that may show the page in a frame, as https://host; *: all."
    )
    allow_mcp: tuple[str, ...] = _setting(
        (),
        "servers of tools (MCP) that clients on other computers may name, as tools.example.com; *: all.",
    )
    api_key: str = field(
        default="",
        repr=False,
        metadata={
            "help": "programs must know it. As a flag every user of this computer can see it in the list "
            "of processes: give it as DUOLOGUE_API_KEY or in the file. Empty: none is asked for."
        },
    )
    page: bool = _setting(True, "serve the page, not only the line.")
    stream_every: float = _setting(0.04, "seconds of microphone that the page sends at once.")
    patience: PatienceSetting = _setting(  # noqa: RUF009  a string
        "normal",
        "how long a pause may be: quick, normal, patient go by how finished it sounds; fixed.",
    )
    silence: float = _setting(0.5, "seconds of silence that end a turn with patience fixed.")
    threshold: float = _setting(0.5, "speech probability, 0..1, from which sound counts as speech.")
    prefix_padding: float = _setting(0.3, "seconds of sound kept from before the first word.")
    time_limit: float = _setting(30.0, "seconds after which an utterance is ended and answered.")
    idle_timeout: float = _setting(
        60.0, "seconds without a word after which the page lets go of the microphone."
    )
    barge_in: bool = _setting(True, "speaking during a reply stops it.")
    sessions: int = _setting(
        20, "how many may be connected at once; for a newcomer, one that is silent for 30 s ends."
    )
    visitor_sessions: int = _setting(
        8, "how many of them one visitor may have, or one address but this computer's own."
    )
    chats: int = _setting(20, "how many replies of POST /chat may be under way or waiting at once.")
    session_length: float = _setting(3600.0, "seconds a session may last.")
    message_bytes: int = _setting(15 * 1024 * 1024, "the largest message.")
    history: float = _setting(
        3600.0, "seconds of recordings kept, of all conversations together; 80 kB each."
    )
    data: str = _setting(
        "", "folder for the figures of turns: no sound, no words. Empty: ~/.local/share/duologue."
    )
    model_timeout: float = _setting(
        60.0, "seconds that the model may give nothing to anybody before its replies fail."
    )
    grace: float = _setting(
        30.0, "seconds that replies may take to end when the server is stopped."
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "info",
        "of the program's log, which goes to standard error; who keeps it in a file rotates it.",
    )

    def __post_init__(self) -> None:
        """Refuse what no server can be run with."""
        for name, low, high in (
            ("port", 0, 65535),
            ("speed", 0.5, 2),
            ("stream_every", 0.01, 1),
            ("silence", 0.1, 10),
            ("threshold", 0, 1),
            ("prefix_padding", 0, 5),
            ("time_limit", 1, 600),
            ("idle_timeout", 1, 3600),
            ("sessions", 1, 10_000),
            ("visitor_sessions", 1, 10_000),
            ("chats", 1, 10_000),
            ("session_length", 1, 86_400),
            ("message_bytes", 4096, 2**30),
            ("history", 1, 1_000_000),
            ("model_timeout", 1, 3600),
            ("grace", 0, 600),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InvalidSetting(f"{name} goes from {low:g} to {high:g}, not {value:g}")
        if bool(self.tls_cert) != bool(self.tls_key):
            raise InvalidSetting("tls_cert and tls_key go together: a certificate and its key")
        if self.root_path and not is_path(self.root_path):
            raise InvalidSetting(
                "root_path is a path such as /duologue, without a slash at its end, "
                f"not {quoted(self.root_path)}"
            )
        for name in ("allow_origin", "allow_frame"):
            for origin in getattr(self, name):
                if origin not in ("*", "null") and not parse_origin(origin):
                    raise InvalidSetting(
                        f"{name} takes https://host or http://host, not {origin!r}"
                    )
        for host in self.allow_host:
            if host != "*" and not split_host(host):
                raise InvalidSetting(f"allow_host takes a name, as voice.example.com, not {host!r}")
        self._check_texts()

    def _check_texts(self) -> None:
        letters = (r"[!-~]*", "has characters that no HTTP header carries; use ASCII")
        for name, (pattern, what) in {
            **dict.fromkeys(("api_key", "stt_key", "llm_key", "tts_key", "realtime_key"), letters),
            "language": (r"([a-z]{2,3})?", "is a code of ISO 639 such as en, in small letters"),
        }.items():
            if not re.fullmatch(pattern, getattr(self, name)):
                raise InvalidSetting(f"{name} {what}")

    @property
    def parts(self) -> dict[str, str]:
        """What was chosen for the parts of the model cascade, by the names of its `load`."""
        names = [f"{part}{of}" for part in ("stt", "llm", "tts") for of in ("", "_model", "_key")]
        chosen = {name: str(getattr(self, name)) for name in (*names, "voice", "language")}
        if self.speed != 1.0:
            chosen["speed"] = f"{self.speed:g}"
        return {name: value for name, value in chosen.items() if value}

    @property
    def remote(self) -> dict[str, str]:
        """What was chosen for the model realtime, by the names of its `load`."""
        chosen = {
            "url": self.realtime,
            "model": self.realtime_model,
            "key": self.realtime_key,
            "voice": self.voice,
        }
        return {name: value for name, value in chosen.items() if value and self.realtime}

    @property
    def turn_log(self) -> Path:
        """The file in `data`, or else in $XDG_DATA_HOME/duologue or ~/.local/share/duologue.

        Raises:
            InvalidSetting: nobody knows where ~ is.
        """
        shared = Path(os.environ.get("XDG_DATA_HOME", ""))
        # The XDG specification says that a relative path is to be ignored.
        usual = shared if shared.is_absolute() else Path("~/.local/share")
        folder = self.data or str(usual / "duologue")
        return expand(folder) / "turns.sqlite3"


_FIELDS = {field.name: field for field in dataclasses.fields(Config)}


def load_config(
    flags: Mapping[str, object], file: Path | None = None, environ: Mapping[str, str] = os.environ
) -> Config:
    """Put a configuration together; what comes later in the title of this module wins.

    Args:
        flags: by the names of `Config`; None counts as not given.
        file: a TOML file, or None.
        environ: `DUOLOGUE_PORT=8000` and so on.

    Raises:
        InvalidSetting: an unknown name, a value of the wrong kind, an unreadable file.
    """
    values: dict[str, object] = {}
    if file:
        values |= _read(file)
    for key, text in environ.items():
        name = key.removeprefix(PREFIX).lower()
        if key.startswith(PREFIX) and name != "cache":  # the cache folder is `weights`' own
            values[name] = text
    values |= {name: value for name, value in flags.items() if value is not None}
    return Config(**{name: _convert(name, value) for name, value in values.items()})


def _read(file: Path) -> dict[str, object]:
    try:
        return tomllib.loads(file.read_text("utf-8-sig"))  # Windows editors begin it with a mark
    except OSError as error:
        raise InvalidSetting(
            f"the configuration {file} cannot be read: {error.strerror}"
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidSetting(
            f"the configuration {file} is not valid TOML: it is no UTF-8; save it as UTF-8"
        ) from error
    except ValueError as error:
        raise InvalidSetting(f"the configuration {file} is not valid TOML: {error}") from error


def _convert(name: str, value: object) -> Any:
    if name not in _FIELDS:
        close = difflib.get_close_matches(name, _FIELDS, n=1)
        hint = f"; did you mean {close[0]}?" if close else f"; known are {', '.join(_FIELDS)}"
        raise InvalidSetting(f"there is no setting {name!r}{hint}")
    if isinstance(value, str) and name.startswith("allow_"):
        value = [part.strip() for part in value.split(",") if part.strip()]
    elif isinstance(value, str) and name == "model_options":
        value = {key: option for key, _, option in (p.partition("=") for p in value.split(","))}
    kind: Any = _FIELDS[name].type
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        shown = "no text" if name.endswith("_key") else repr(value)  # errors end up in logs
        raise InvalidSetting(f"{name} is {shown}: {error.errors()[0]['msg'].lower()}") from error
