"""Parts that run on a server with OpenAI's API: how it is reached, and what its failures mean."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai

from duologue.errors import InvalidSetting, ModelFailed, ModelUnavailable, quoted

FAILURES = (openai.APIError, httpx2.HTTPError, ValueError)  # the last: no JSON, no text, no sound
"""What a server that does not do what it should raises, in the client."""

_CONNECTS = 5.0  # seconds
_SHOWN = 200  # characters of what a server says


@contextlib.asynccontextmanager
async def closing(stream: openai.AsyncStream[Any]) -> AsyncIterator[None]:
    """Stop the server at the end of the block, and close the stream to its last part.

    Its own `close` leaves the generators that it is made of to the garbage collector, which may run in
    another thread while the loop closes the next of them.
    """
    try:
        async with stream:
            yield
    finally:
        with contextlib.suppress(*FAILURES):
            while await anext(stream, None):  # what had come already
                pass


class Failed(ModelFailed):
    """A request failed.

    Attributes:
        again: seconds after which it may be tried again; None: that would be of no use.
        status: of HTTP; 0: there was none.
    """

    def __init__(self, sentence: str, again: float | None = None, status: int = 0) -> None:
        super().__init__(sentence)
        self.again, self.status = again, status


class ServerPart:
    """One of the chain's parts, on a server.

    Attributes:
        host: where the server is, as people read it.
        client: that asks it; it does not try again by itself.
        trouble: why the last request failed; empty: it did not.
    """

    _part: str
    """What it is, as in "the language model at ..."."""
    _flag: str
    """What names it, as "llm"."""
    _silent: float
    """Seconds in which it may give nothing."""
    _kinds: Sequence[str] = ()
    """Words of which the name of a fitting model has one; none: any may fit."""

    def __init__(self, address: str, model: str = "", key: str = "") -> None:
        """Nothing is asked yet.

        Args:
            address: as http://127.0.0.1:11434/v1.
            model: what it calls the model; "": the only one that there is.
            key: that it wants; empty: none.

        Raises:
            InvalidSetting: that is no address.
        """
        self.trouble = ""
        self._model, self._key = model, key
        try:
            parts = urlsplit(address)
            self.host = parts.netloc.rpartition("@")[2]
            good = parts.scheme in ("http", "https") and bool(parts.hostname)
            _ = parts.port  # raises where it is none
        except ValueError:
            good = False
        if not good:
            raise InvalidSetting(
                f"{self._flag} is an address such as http://127.0.0.1:11434/v1, not {quoted(address)}"
            )
        self.client = openai.AsyncOpenAI(
            api_key=key or "none",
            base_url=address,
            # A proxy of the environment is not for this machine itself; NO_PROXY tells of others.
            http_client=openai.DefaultAsyncHttpxClient(
                trust_env=parts.hostname not in ("127.0.0.1", "localhost", "::1"),
                timeout=httpx2.Timeout(self._silent, connect=_CONNECTS),
            ),
            timeout=httpx2.Timeout(self._silent, connect=_CONNECTS),
            max_retries=0,
        )

    @property
    def name(self) -> str:
        """What it is, and where."""
        return f"{self._model or 'the only model'} (at {self.host})"

    async def start(self) -> None:
        """See whether it is there and has the model.

        Raises:
            ModelUnavailable: it is not, or has not; says what to do.
        """
        self._model = await self._choose()

    async def close(self) -> None:
        """Let go of the connections."""
        await self.client.close()

    async def _choose(self) -> str:
        """The model that was named, or the only one that it can be."""
        model, kinds = self._model, self._kinds
        try:
            found = [str(entry.id) for entry in (await self.client.models.list()).data]
        except FAILURES as error:
            failed = self.failure(error)
            if model and failed.status in (404, 405, 501):  # not all can list them
                return model
            raise ModelUnavailable(str(failed)) from error
        except (AttributeError, TypeError) as error:  # JSON, but no list of models
            raise ModelUnavailable(self._other_api()) from error
        if model:
            if found and model not in found and f"{model}:latest" not in found:
                raise ModelUnavailable(
                    f"the {self._part} at {self.host} has no model {quoted(model)}; "
                    f"it has {_listed(found)}"
                )
            return model
        fitting = [
            name for name in found if not kinds or any(kind in name.lower() for kind in kinds)
        ]
        if len(fitting or found) != 1:
            has = f"it has {_listed(fitting or found)}" if found else "it lists none"
            raise ModelUnavailable(
                f"the {self._part} at {self.host} needs --{self._flag}-model NAME; {has}"
            )
        return (fitting or found)[0]

    def failure(self, error: Exception) -> Failed:
        """What went wrong, in a sentence that names the part and says what to do."""
        failed = self._failure(error)
        self.trouble = str(failed)
        return failed

    def failed(self, what: str) -> Failed:
        """The same, for what the server did; `what` follows its name."""
        self.trouble = f"the {self._part} at {self.host} {what}"
        return Failed(self.trouble)

    def _failure(self, error: Exception) -> Failed:
        who = f"the {self._part} at {self.host}"
        if isinstance(error, openai.APIStatusError):
            return self._refusal(who, error)
        if isinstance(error, openai.APITimeoutError | httpx2.TimeoutException):
            return Failed(
                f"{who} gave nothing in time; see whether it is busy, or take a quicker one", 0.0
            )
        if isinstance(error.__cause__ or error, httpx2.ConnectError):
            return Failed(
                f"{who} is not reached; see whether it runs, and whether --{self._flag} is right",
                0.5,
            )
        if isinstance(error, openai.APIConnectionError | httpx2.HTTPError):
            return Failed(f"{who} broke off; see what it logs", 0.5)
        if isinstance(error, openai.APIResponseValidationError | ValueError):
            return Failed(self._other_api())
        return Failed(f"{who} failed: {self._shown(str(error))}", 0.5)

    def _refusal(self, who: str, error: openai.APIStatusError) -> Failed:
        status, variable = error.status_code, f"DUOLOGUE_{self._flag.upper()}_KEY"
        if status in (401, 403):
            problem = "refuses the key" if self._key else "wants a key"
            return Failed(f"{who} {problem}; set {variable} to a right one", status=status)
        if status == 404:
            return Failed(
                f"{who} does not know what it is asked for; see whether --{self._flag} ends in /v1, and "
                f"whether --{self._flag}-model is right",
                status=status,
            )
        if status == 429:
            wait = _seconds(error.response.headers.get("retry-after", ""))
            until = f"; it wants to be left alone for {wait:g} s" if wait else "; try again later"
            return Failed(f"{who} is asked too often{until}", wait or 1.0, status)
        if status >= 500:
            return Failed(f"{who} failed ({status}); see what it logs", 0.5, status)
        said = self._shown(error.message)
        return Failed(f"{who} refused the request ({status}): {said}", status=status)

    def _other_api(self) -> str:
        return (
            f"the {self._part} at {self.host} answers, but not as OpenAI's API does; "
            f"see whether --{self._flag} ends in /v1"
        )

    def _shown(self, text: str) -> str:
        """What a server says, in one line, without the key, should it repeat that."""
        line = " ".join(text.split())
        return (line.replace(self._key, "…") if self._key else line)[:_SHOWN]


def _seconds(header: str) -> float:
    try:
        return max(0.0, min(3600.0, float(header)))
    except ValueError:  # a date, which none of them sends
        return 0.0


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:12])
    return f"{shown} and {len(names) - 12} more" if len(names) > 12 else shown
