"""The OpenAI Realtime API (GA) over WebSocket, at `/v1/realtime`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

from starlette.routing import BaseRoute, WebSocketRoute
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from duologue.conversation.events import (
    AudioReceived,
    ClientErred,
    ClientEvent,
    ErrorOccurred,
    ServerEvent,
    SessionStarted,
    SettingsChanged,
)
from duologue.errors import (
    DuologueError,
    InvalidApiKey,
    InvalidEvent,
    MessageTooBig,
)
from duologue.session.session import Transport
from duologue.settings import Settings
from duologue.transports.admission import Admission, keys_of
from duologue.transports.realtime import client_secrets
from duologue.transports.realtime.client_secrets import ClientSecrets
from duologue.transports.realtime.decode import decode_message, merge
from duologue.transports.realtime.encode import Encoder
from duologue.transports.realtime.formats import Reader
from duologue.transports.realtime.refusal import accept, close, refuse

Configure = Callable[[Settings], Settings]
"""How a session begins, out of how one of this server begins."""

Serve = Callable[[Transport, str, str, Configure], Awaitable[None]]
"""Serves a client (transport, owner, conversation, configure) to its end; a `DuologueError` refuses it."""


class RealtimeTransport:
    """One WebSocket, as a `Transport`."""

    def __init__(
        self, socket: WebSocket, model: str, message_bytes: int, *, extensions: bool = False
    ) -> None:
        self.extensions = extensions
        self._socket = socket
        self._message_bytes = message_bytes
        self._encoder = Encoder(model, extensions=extensions)
        self._reader = Reader("pcm24")
        self._settings = Settings()

    async def __aiter__(self) -> AsyncIterator[ClientEvent]:
        """What the client wants, until it hangs up. What is no event comes as `ClientErred`."""
        while True:
            try:
                message = await self._socket.receive()
            except RuntimeError:  # Starlette's word for: disconnected already
                return
            if message["type"] == "websocket.disconnect":
                return
            async for event in self._decode(message):
                yield event

    async def send(self, event: ServerEvent) -> None:
        """Send an event as its messages.

        Raises:
            ConnectionError: the client has gone.
        """
        if isinstance(event, SessionStarted):
            self._settings = event.settings
        for message in self._encoder.encode(event):
            try:
                await self._socket.send_text(message)
            except (WebSocketDisconnect, RuntimeError) as error:
                raise ConnectionResetError("the client has hung up") from error

    async def close(self, error: DuologueError) -> None:
        """Hang up; the close code and its reason say why. A client that has gone is no error."""
        if self._socket.application_state is WebSocketState.CONNECTED:
            with suppress(WebSocketDisconnect, RuntimeError):
                await close(self._socket, error)

    async def _decode(self, message: Message) -> AsyncIterator[ClientEvent]:
        text = message.get("text")
        if not isinstance(text, str):
            yield ClientErred(InvalidEvent("an event is sent as text, not as a binary message"))
            return
        if len(text) > self._message_bytes:
            limit = self._message_bytes / 2**20
            yield ClientErred(
                MessageTooBig(f"a message may have {limit:g} MiB; send the audio in smaller pieces")
            )
            return
        for event in decode_message(text, self._settings):
            if event is None:
                await asyncio.sleep(0)
            elif isinstance(event, AudioReceived):
                yield replace(event, chunk=self._reader.push(event.chunk))
            else:
                if isinstance(event, SettingsChanged):
                    # Not when they are told to hold: the next update may be here before that.
                    self._settings = event.settings
                    if event.settings.sound_in != self._reader.format:
                        self._reader = Reader(event.settings.sound_in)
                yield event


def routes(
    serve: Serve, model: str, admission: Admission, fit: Configure = lambda settings: settings
) -> list[BaseRoute]:
    """The route `/v1/realtime`, and those for client secrets.

    The `model` of the URL is ignored: a server has one. `conversation` in the URL names the
    conversation of this user that the session goes on with; without it, a new one begins.
    `intent=transcription` begins a session that writes down what is said, and answers nothing.
    `extensions=1` asks for the events that the API does not have (see `encode`).

    Args:
        serve: serves a client.
        model: its name.
        admission: who is let in.
        fit: a session's settings, as far as the model can follow them.
    """
    made = ClientSecrets()

    async def realtime(socket: WebSocket) -> None:
        try:
            session = made.session_of(keys_of(socket))
            if session is None:
                admission.check_key_of_program(socket)
        except InvalidApiKey as error:
            admission.note(error)
            await refuse(socket, error, 401)
            return
        await accept(socket)
        extensions = socket.query_params.get("extensions") == "1"
        transport = RealtimeTransport(socket, model, admission.message_bytes, extensions=extensions)
        conversation = socket.query_params.get("conversation", "")
        if session is None and socket.query_params.get("intent") == "transcription":
            session = {"type": "transcription"}
        try:
            await serve(
                transport,
                socket.state.user,
                conversation,
                lambda settings: merge(settings, session) if session else settings,
            )
        except DuologueError as error:
            admission.note(error)
            with suppress(ConnectionError):
                await transport.send(ErrorOccurred(error))
                await transport.close(error)

    return [
        WebSocketRoute("/v1/realtime", realtime),
        *client_secrets.routes(admission, made, model, fit),
    ]
