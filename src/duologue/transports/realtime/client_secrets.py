"""Keys for pages, which cannot keep the server's own: `POST /v1/realtime/client_secrets`.

A client secret is good for some minutes, and for sessions that begin as it says. The server keeps a digest
of it, in memory.
"""

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from duologue.errors import (
    InvalidApiKey,
    InvalidEvent,
    InvalidRequest,
    NotOffered,
    TooManyReplies,
    quoted,
)
from duologue.settings import Settings
from duologue.transports.admission import Admission
from duologue.transports.answering import Endpoint, Reply
from duologue.transports.realtime.decode import merge
from duologue.transports.realtime.encode import session_fields

_PREFIX = "ek_"
_MOST = 1_000  # at once
_SECONDS = (10, 7_200)  # that one may be good for
_USUAL = 600  # seconds


@dataclass(frozen=True, slots=True)
class _Secret:
    expires: float  # Unix time
    session: dict[str, Any]


class ClientSecrets:
    """Those of one server."""

    def __init__(self) -> None:
        self._known: dict[str, _Secret] = {}  # by their digest

    def make(self, session: dict[str, Any], seconds: int) -> tuple[str, int]:
        """A new one.

        Args:
            session: how a session begins that it is used for.
            seconds: that it is good for.

        Returns:
            The secret, and when it expires, by Unix time.

        Raises:
            TooManyReplies: there are too many.
        """
        now = time.time()
        self._known = {name: one for name, one in self._known.items() if one.expires > now}
        if len(self._known) >= _MOST:
            raise TooManyReplies(f"{_MOST} client secrets are good already; try again later")
        value, expires = _PREFIX + secrets.token_urlsafe(32), now + seconds
        self._known[_digest(value)] = _Secret(expires, session)
        return value, int(expires)

    def session_of(self, keys: Iterable[str]) -> dict[str, Any] | None:
        """How a session begins that brings these keys; None: no client secret is among them.

        Raises:
            InvalidApiKey: there is one, and it is not good any more, or never was.
        """
        for key in keys:
            if key.startswith(_PREFIX):
                known = self._known.get(_digest(key))
                if not known or known.expires <= time.time():
                    raise InvalidApiKey(
                        "this client secret has expired, or was never given out here; ask for another at "
                        "/v1/realtime/client_secrets"
                    )
                return known.session
        return None


class _Minting(Endpoint):
    method = "POST"

    def __init__(
        self,
        admission: Admission,
        made: ClientSecrets,
        model: str,
        fit: Callable[[Settings], Settings],
    ) -> None:
        super().__init__(admission)
        self._made, self._model, self._fit = made, model, fit

    async def _reply(self, request: Request, reply: Reply) -> None:
        session, seconds = _wanted(await request.body())
        try:
            settings = self._fit(merge(Settings(), session))
        except InvalidEvent as error:
            raise InvalidRequest(str(error), error.param) from error
        value, expires = self._made.make(session, seconds)
        told = session_fields(self._model, settings, f"sess_{secrets.token_hex(8)}", expires)
        answer = {"value": value, "expires_at": expires, "session": told}
        await reply.send(json.dumps(answer).encode(), "application/json")


class _Calls(Endpoint):
    method = "POST"

    async def _reply(self, request: Request, reply: Reply) -> None:  # noqa: ARG002
        raise NotOffered(
            "this server does not speak WebRTC; connect a WebSocket to /v1/realtime instead"
        )


def routes(
    admission: Admission, made: ClientSecrets, model: str, fit: Callable[[Settings], Settings]
) -> list[Route]:
    """`/v1/realtime/client_secrets`, and `/v1/realtime/calls`, which says that there is no WebRTC.

    Args:
        admission: who is let in.
        made: the secrets that are good.
        model: its name.
        fit: a session's settings, as far as the model can follow them.
    """
    return [
        _Minting(admission, made, model, fit).at("/v1/realtime/client_secrets"),
        _Calls(admission).at("/v1/realtime/calls"),
    ]


def _wanted(body: bytes) -> tuple[dict[str, Any], int]:
    """The session and the seconds that a request names.

    Raises:
        InvalidRequest: one is wrong.
    """
    try:
        fields = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"the body is no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise InvalidRequest(f"the body is a JSON object, not a JSON {type(fields).__name__}")
    session, after = fields.get("session"), fields.get("expires_after")
    session = {"type": "realtime"} if session is None else session
    if not isinstance(session, dict):
        raise InvalidRequest("session is a JSON object", "session")
    after = {} if after is None else after
    if not isinstance(after, dict) or after.get("anchor", "created_at") != "created_at":
        raise InvalidRequest(
            'expires_after is as {"anchor": "created_at", "seconds": 600}', "expires_after"
        )
    low, high = _SECONDS
    seconds = after.get("seconds", _USUAL)
    if type(seconds) is not int or not low <= seconds <= high:
        raise InvalidRequest(
            f"a client secret is good for {low} to {high} seconds, not {quoted(seconds)}",
            "expires_after.seconds",
        )
    return session, seconds


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode(errors="replace")).hexdigest()
