"""The ASGI app: the routes of the transports, how many at once, and a calm end."""

import asyncio
import importlib
import logging
import os
import secrets
import signal
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from types import ModuleType

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from duologue import metrics
from duologue.conversation.prompt import usable
from duologue.errors import (
    InvalidSetting,
    SessionIdle,
    ShuttingDown,
    TooManyReplies,
    TooManySessions,
)
from duologue.models import Ear, SpeechModel, Transcriber
from duologue.models.watched import Watched
from duologue.server import connections
from duologue.server.config import Config
from duologue.server.mcp_servers import McpServers, may_reach
from duologue.session.session import EndOfTurn, Limits, Session, Transport
from duologue.settings import Settings
from duologue.store.figures import TurnLog
from duologue.store.memory import History
from duologue.system import stopping
from duologue.system.addresses import microphone_hint, url_of
from duologue.transports import audio, chat, realtime, recordings
from duologue.transports.admission import Admission
from duologue.transports.guard import Guard
from duologue.transports.identity import OWN, Identity, Visitor, read_secret, visitor
from duologue.transports.question import Questions
from duologue.transports.realtime import Configure
from duologue.transports.subpath import SubPath
from duologue.turns.detector import Vad

logger = logging.getLogger(__name__)

_QUEUE = 2048  # connections that may wait: who comes before the model is loaded does

_SILENT = (
    30.0  # seconds without a message after which a session makes room; a page sends all the time
)


class Server:
    """All the sessions of one server.

    Attributes:
        app: the ASGI app that they come in by.
        config: its settings.
        model: under watch; started and closed by whoever made it.
        history: of all conversations.
    """

    def __init__(
        self,
        config: Config,
        model: SpeechModel,
        vad: Callable[[], Vad],
        end_of_turn: EndOfTurn | None = None,
        log: TurnLog | None = None,
        ear: Transcriber | None = None,
    ) -> None:
        self.config = config
        self._ear = ear
        self.model = Watched(model, config.model_timeout)
        self.history = History(config.history, log)
        self._vad = vad
        self._end_of_turn = end_of_turn
        self._sessions: dict[Session, Visitor] = {}
        self._farewells: set[asyncio.Task[None]] = set()
        self._chats: set[asyncio.Event] = set()  # each set when that reply has ended
        self._draining = False
        self._questions = Questions(config.message_bytes, config.time_limit)
        self.app = self._make_app()

    @property
    def settings(self) -> Settings:
        """Those that a session begins with."""
        config = self.config
        return Settings(
            threshold=config.threshold,
            prefix_padding=config.prefix_padding,
            patience=config.patience,
            silence=config.silence,
            time_limit=config.time_limit,
            interrupt_response=config.barge_in,
            half_duplex=not config.barge_in,
        )

    async def serve(
        self, transport: Transport, owner: str, conversation: str, configure: Configure
    ) -> None:
        """Serve one client to its end.

        Args:
            transport: the client.
            owner: whose it is.
            conversation: what the owner calls it; empty: a new one.
            configure: how the session begins, out of how one of this server does.

        Raises:
            TooManySessions: no session is free.
            ShuttingDown: none will be.
        """
        self._refuse_while_draining()
        who = visitor.get()
        self._make_room(who)
        name = conversation or secrets.token_hex(8)
        session = Session(
            transport,
            self._vad(),
            self.model,
            self.history.conversation(owner, name, is_local=who.is_local),
            configure(self.settings),
            end_of_turn=self._end_of_turn,
            limits=Limits(length=self.config.session_length),
            ear=self._ear,
            tool_servers=McpServers(
                partial(may_reach, is_local=who.is_local, allowed=self.config.allow_mcp)
            ),
        )
        self._sessions[session] = who
        try:
            with metrics.sessions.track_inprogress():
                await session.run()
        except Exception:
            # The last border: one session's fault must not reach the others, nor the log bare.
            logger.exception("%s ended by a fault", session.id)
        finally:
            self._sessions.pop(session, None)

    def _make_room(self, who: Visitor) -> None:
        config = self.config
        theirs = [session for session, other in self._sessions.items() if who.is_like(other)]
        for sessions, most, whose in (
            (
                theirs,
                config.visitor_sessions,
                "that one visitor, or one address, may have (--visitor-sessions)",
            ),
            (self._sessions, config.sessions, "of this server"),
        ):
            if len(sessions) < most:
                continue
            silent = max(sessions, key=lambda session: session.silent_for)
            if silent.silent_for < _SILENT:
                raise TooManySessions(f"all {most} sessions {whose} are in use; try again later")
            logger.info("%s was silent, and makes room", silent.id)
            del self._sessions[silent]
            reason = SessionIdle(
                "nothing came from you for a while, and others wait; connect again"
            )
            farewell = asyncio.create_task(silent.hang_up(reason))
            self._farewells.add(farewell)
            farewell.add_done_callback(self._farewells.discard)

    @contextmanager
    def chat(self) -> Iterator[SpeechModel]:
        """Take in one request that is answered on its own, from when its question is known.

        Raises:
            TooManyReplies: no place is free.
            ShuttingDown: none will be.
        """
        self._refuse_while_draining()
        if len(self._chats) >= self.config.chats:
            raise TooManyReplies(
                f"all {self.config.chats} places for replies over HTTP (--chats) are taken; "
                "try again later"
            )
        ended = asyncio.Event()
        self._chats.add(ended)
        try:
            yield self.model
        finally:
            self._chats.discard(ended)
            ended.set()

    async def drain(self) -> None:
        """Let every reply under way be heard, then hang up; new clients are refused."""
        self._draining = True
        reason = ShuttingDown(
            "the server is shutting down; start a new conversation when it is back"
        )
        sessions, chats = self._sessions, self._chats
        if sessions or chats:
            logger.info(
                "waiting for %d sessions and %d chats to end their replies",
                len(sessions),
                len(chats),
            )
            ends = [asyncio.create_task(session.drain(reason)) for session in sessions]
            await asyncio.wait([*ends, *(asyncio.create_task(end.wait()) for end in chats)])

    def close(self) -> None:
        """End what reads the questions of `/chat`, when nobody is served any more."""
        self._questions.close()

    def _fit(self, settings: Settings) -> Settings:
        return usable(settings, self.model.capabilities)

    def _refuse_while_draining(self) -> None:
        if self._draining:
            raise ShuttingDown("the server is shutting down; try again later")

    def _make_app(self) -> ASGIApp:
        config = self.config
        admission = Admission(
            config.allow_origin,
            config.message_bytes,
            config.api_key,
            config.page,
            hosts=(config.host, *config.allow_host),
        )
        app = Starlette(
            routes=[
                *realtime.routes(self.serve, config.model, admission, self._fit),
                *chat.routes(self.chat, admission, self._questions),
                *audio.routes(
                    self.chat,
                    admission,
                    self._questions,
                    config.model,
                    lambda: self.model.capabilities.voices,
                ),
                *recordings.routes(self.history.turn),
                Route("/health", self._health),
                Route("/metrics", self._metrics),
            ]
        )
        if self.config.page:
            _mount_page(app, self)
        proxies = os.environ.get("FORWARDED_ALLOW_IPS", ",".join(OWN))
        guard = Guard(
            Identity(app, read_secret(config.turn_log.with_name("visitors.key"))),
            admission,
            proxies=proxies,
            frames=config.allow_frame,
            large=("/chat", "/v1/audio/transcriptions"),
        )
        return SubPath(guard, proxies=proxies, root_path=config.root_path)

    async def _health(self, _: Request) -> JSONResponse:
        in_use = len(self._sessions)
        trouble = self.model.trouble
        status = "draining" if self._draining else "degraded" if trouble else "ok"
        return JSONResponse(
            {
                "status": status,
                "model": self.config.model,
                "note": self.model.capabilities.note,
                **({"trouble": trouble} if trouble else {}),
                "sessions": in_use,
                "free_sessions": self.config.sessions - in_use,
                "chats": len(self._chats),
            }
        )

    async def _metrics(self, _: Request) -> Response:
        """Numbers for Prometheus.

        No key is asked for, here and at /health: they are of nobody in particular, who watches a server
        knows none, and other sites' pages cannot read them.
        """
        exposition, media_type = metrics.exposition()
        return Response(exposition, media_type=media_type)


def _load_page() -> ModuleType:
    try:
        return importlib.import_module("duologue.transports.page")
    except ModuleNotFoundError as error:
        raise InvalidSetting(
            f"the page needs the package {error.name!r}; install it with: "
            "pip install 'duologue[page]', or serve the line alone with --no-page"
        ) from error
    except Exception as error:
        # Gradio makes HTTP clients as it is imported, and they look at the proxies of the environment.
        client = type(error).__module__.partition(".")[0] == "httpx"
        if not (client or isinstance(error, ImportError | ValueError)):
            raise
        raise InvalidSetting(
            f"the page cannot be loaded: {error}; mend that, or serve the line alone with --no-page"
        ) from error


def _mount_page(app: Starlette, server: Server) -> None:
    page = _load_page()
    app.router.routes.extend(page.routes(server.history))
    blocks = page.build(
        server.config.model,
        server.model.capabilities.note,
        server.settings,
        stream_every=server.config.stream_every,
        idle_timeout=server.config.idle_timeout,
    )
    page.mount(app, blocks)


def bind(host: str, port: int) -> socket.socket:
    """A socket to serve on.

    Raises:
        InvalidSetting: the port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Said in full, or asyncio does not turn Nagle's algorithm off: a second message would wait 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if os.name == "posix":  # elsewhere it would let two servers share the port
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_QUEUE)
    except OSError as error:
        listener.close()
        raise InvalidSetting(
            f"cannot serve on {host}:{port} ({error.strerror}); choose another with --port or --host"
        ) from error
    return listener


@asynccontextmanager
async def running(
    config: Config,
    model: SpeechModel,
    vad: Callable[[], Vad],
    end_of_turn: EndOfTurn | None = None,
    ear: Ear | None = None,
) -> AsyncIterator["Uvicorn"]:
    """A server with its model loaded, on its port, ready to `serve()`; all of it ends with the block.

    Raises:
        InvalidSetting: the port is taken, or there is no such certificate.
        DuologueError: the model cannot be started.
    """
    _tls_files(config)
    with bind(config.host, config.port) as listener, closing(TurnLog(config.turn_log)) as log:
        starting = asyncio.create_task(model.start())
        try:
            if config.page:  # takes as long as loading a model, and neither needs to wait
                await stopping.unwaited(_load_page)
            # Here and not in that thread, where Gradio would make event loops and leave them open.
            with closing(Server(config, model, vad, end_of_turn, log, ear)) as server:
                await starting
                yield Uvicorn(server, listener)
        finally:
            starting.cancel()  # it is still starting only if nobody waits for it any more
            await asyncio.gather(starting, return_exceptions=True)
            await model.close()
            if ear:
                await ear.close()


def _tls_files(config: Config) -> dict[str, str]:
    """Uvicorn's settings for the certificate, if there is one.

    Raises:
        InvalidSetting: the files cannot be read, or do not belong together.
    """
    if not config.tls_cert:
        return {}
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            config.tls_cert, config.tls_key, password=lambda: ""
        )
    except (OSError, ValueError) as error:
        raise InvalidSetting(
            f"the certificate {config.tls_cert} and the key {config.tls_key} cannot be used: {error}"
        ) from error
    return {"ssl_certfile": config.tls_cert, "ssl_keyfile": config.tls_key}


class Uvicorn(uvicorn.Server):
    """uvicorn, which lets the replies under way end before it hangs up.

    Attributes:
        url: where it serves, for this computer.
        hint: what to tell of the microphone, where other computers reach it; else empty.
        model: that answers there.
    """

    def __init__(self, server: Server, listener: socket.socket) -> None:
        self._server = server
        self.model = server.model
        self._listener = listener
        tls = _tls_files(server.config)
        self.url = url_of(listener, tls=bool(tls))
        self.hint = microphone_hint(listener, tls=bool(tls))
        self._connections = connections.Connections(connections.raise_descriptor_limit())
        super().__init__(
            connections.Config(
                server.app,
                self._connections,
                log_config=None,
                access_log=False,
                proxy_headers=False,  # the guard believes them, or takes them away
                server_header=False,
                # Twice our own limit: what is a little too big gets a Realtime error, not a hang-up.
                ws_max_size=2 * server.config.message_bytes,
                ws_per_message_deflate=False,  # base64 of sound: a lot of work for a tenth less
                timeout_graceful_shutdown=2,
                **tls,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections; asyncio has made their queue as short as it accepts at once."""
        await super().startup(sockets)
        self._listener.listen(_QUEUE)

    async def run_until_stopped(self) -> None:
        """Serve until a signal, or until `should_exit` is set."""
        asyncio.get_running_loop().set_exception_handler(self._connections.handle)
        await self.serve(sockets=[self._listener])

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at Ctrl-C or SIGTERM.

        uvicorn would raise the signal again at the end, and so end the process before the model is
        closed and the temporary folder removed.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        signals = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, self.handle_exit) for number in signals]
        try:
            yield
        finally:
            for number, handler in zip(signals, before, strict=True):
                signal.signal(number, handler)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain first; a second signal, or the end of the grace, cuts that short."""
        drain = asyncio.create_task(self._server.drain())
        for _ in range(round(self._server.config.grace * 10)):
            if drain.done() or self.force_exit:
                break
            await asyncio.wait([drain], timeout=0.1)
        drain.cancel()
        await super().shutdown(sockets)
