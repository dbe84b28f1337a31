"""Say a recording to a server and keep its answer: one turn, without a microphone."""

import asyncio
import base64
import ipaddress
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from openai import AsyncOpenAI, DefaultAsyncHttpxClient, OpenAIError
from openai.types.realtime import RealtimeServerEvent
from websockets.exceptions import (
    InvalidHandshake,
    InvalidProxy,
    InvalidStatus,
    ProxyError,
    WebSocketException,
)

from duologue.audio import REPLY_RATE, AudioChunk, from_pcm16
from duologue.errors import (
    AudioTooLong,
    DuologueError,
    InvalidApiKey,
    InvalidSetting,
    Unreachable,
    quoted,
)
from duologue.timings import Timings

_PIECE = 1.0  # seconds of audio a message


@dataclass(slots=True)
class Answer:
    """What came back. Times are seconds after the last piece of the question was sent.

    Attributes:
        question: its words, if the model tells them.
        text: the words of the reply.
        audio: its sound.
        transcribed: when `question` was known.
        first_sound: when the first sound came.
        done: when the last one had come.
        timings: how long everything took by the server's clock, as far as it tells.
        cut: the question was longer than the server takes, and only its beginning was answered.
    """

    question: str = ""
    text: str = ""
    audio: AudioChunk = from_pcm16(b"", REPLY_RATE)  # noqa: RUF009  frozen
    transcribed: float | None = None
    first_sound: float | None = None
    done: float = 0.0
    timings: Timings = field(default_factory=Timings)
    cut: bool = False


async def ask(url: str, question: AudioChunk, api_key: str = "", patience: float = 60.0) -> Answer:
    """Send a question, all at once, to the server at `url` (http://host:port) and take the answer.

    Raises:
        Unreachable: nobody answers there, or not in time.
        InvalidApiKey: the server asks for another key.
        InvalidSetting: that is no URL of a server.
        DuologueError: what the server says is wrong.
    """
    if not url.startswith(("http://", "https://")):
        raise InvalidSetting(f"a server is named as http://host:port, not as {quoted(url)}")
    line = url.rstrip("/").replace("http", "ws", 1) + "/v1"
    client = AsyncOpenAI(
        api_key=api_key or "not needed",
        base_url=url,
        websocket_base_url=line,
        # It is not used, and with proxies of some kinds in the environment it could not even be made.
        http_client=DefaultAsyncHttpxClient(trust_env=False),
    )
    options: Any = {"proxy": None} if _is_near(url) else {}
    try:
        async with (
            asyncio.timeout(patience),
            # As the page: of a question that is too long, the beginning is kept, and that is said.
            client.realtime.connect(
                model="duologue",
                extra_query={"extensions": "1"},
                websocket_connection_options=options,
            ) as connection,
        ):
            await connection.session.update(
                session={"type": "realtime", "audio": {"input": {"turn_detection": None}}}
            )
            data = question.at(REPLY_RATE).pcm16()
            step = round(_PIECE * REPLY_RATE) * 2
            for start in range(0, len(data), step):
                piece = base64.b64encode(data[start : start + step]).decode()
                await connection.input_audio_buffer.append(audio=piece)
            await connection.input_audio_buffer.commit()
            await connection.response.create()
            return await _collect(aiter(connection))
    except TimeoutError as error:
        raise Unreachable(f"the server at {url} gave no answer within {patience:g} s") from error
    except InvalidStatus as error:
        if error.response.status_code != 401:
            raise Unreachable(f"there is no Duologue server at {url}: {error}") from error
        raise InvalidApiKey(
            f"the server at {url} asks for its API key; give it as DUOLOGUE_API_KEY"
        ) from error
    except (ImportError, ProxyError, InvalidProxy) as error:
        raise Unreachable(
            f"the proxy that the environment names does not lead to {url}: {error}; "
            "unset it, or name the server in NO_PROXY"
        ) from error
    except (OSError, ValueError, InvalidHandshake, WebSocketException, OpenAIError) as error:
        raise Unreachable(f"there is no Duologue server at {url}: {error}") from error
    finally:
        await client.close()


def _is_near(url: str) -> bool:
    """Whether a server is on this computer or in its own network, where no proxy leads to."""
    host = urlsplit(url).hostname or ""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".local"))


async def _collect(events: AsyncIterator[RealtimeServerEvent]) -> Answer:
    start, answer, sound = time.monotonic(), Answer(), bytearray()
    async for event in events:
        now = time.monotonic() - start
        match event.type:
            case "conversation.item.input_audio_transcription.completed":
                answer.question, answer.transcribed = event.transcript, now
            case "response.output_audio.delta":
                answer.first_sound = now if answer.first_sound is None else answer.first_sound
                sound += base64.b64decode(event.delta)
            case "response.output_audio_transcript.delta":
                answer.text += event.delta
            case "error" if event.error.code == AudioTooLong.code:
                answer.cut = True  # what came until the limit is answered
            case "error":
                raise DuologueError(event.error.message)
            case "response.done":
                answer.done = now
                answer.timings = Timings.from_metadata(event.response.metadata or {})
                break
    answer.audio = from_pcm16(bytes(sound), REPLY_RATE)
    return answer
