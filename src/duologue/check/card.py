"""What the checks have found, and what that means for each client."""

import statistics
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from websockets.exceptions import InvalidStatus, WebSocketException

from duologue.check.checks import CHECKS, Check, Missing, Refused, Trial, Wrong
from duologue.check.clients import CLIENTS
from duologue.errors import InvalidApiKey, InvalidSetting, Unreachable, quoted

State = Literal["ok", "refused", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check has found.

    Attributes:
        name: of the check.
        state: "refused": the server says that its model cannot do this.
        why: in a sentence; empty where all is well.
        seconds: that it took.
    """

    name: str
    state: State
    why: str
    seconds: float


@dataclass(slots=True)
class Card:
    """All of them.

    Attributes:
        url: of the server's WebSocket.
        findings: in order.
        violations: of the schema and of the order of events.
        figures: in milliseconds, by their names.
    """

    url: str
    findings: list[Finding] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    figures: dict[str, list[float]] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """Whether the server does nothing wrong."""
        return not self.violations and all(found.state != "wrong" for found in self.findings)


async def examine(
    card: Card, trial: Trial, only: Sequence[str] = ()
) -> AsyncGenerator[Finding, None]:
    """Try one thing after the other; the card has what was found.

    Args:
        card: to fill.
        trial: what the checks have to do with.
        only: names of checks; empty: all.

    Raises:
        Unreachable: no server is there.
        InvalidApiKey: it wants a key, or another one.
    """
    await _knock(trial)
    for name, check in CHECKS.items():
        if only and name not in only:
            continue
        begun = time.monotonic()
        state, why = await _outcome(check, trial)
        finding = Finding(name, state, why, time.monotonic() - begun)
        card.findings.append(finding)
        card.figures = trial.figures
        yield finding
    for line in trial.lines:
        card.violations += [what for what in line.order.violations if what not in card.violations]


async def _outcome(check: Check, trial: Trial) -> tuple[State, str]:
    try:
        await check(trial)
    except Refused as error:
        return "refused", str(error)
    except (Missing, Wrong) as error:
        complaints = trial.lines[-1].errors() if trial.lines else []
        said = f"; the server says: {complaints[-1]}" if complaints else ""
        return "wrong", f"{error}{said}"
    except (OSError, WebSocketException, TimeoutError) as error:
        return "wrong", f"the line was lost: {error}"
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        return "wrong", f"an event has another form: {type(error).__name__} {error}"
    return "ok", ""


async def _knock(trial: Trial) -> None:
    host = urlsplit(trial.url).netloc
    try:
        async with trial.line():
            pass
    except InvalidStatus as error:
        status = error.response.status_code
        if status in (401, 403):
            raise InvalidApiKey(f"the server at {host} wants a key, or another one") from error
        raise Unreachable(f"the server at {host} does not let us in: HTTP {status}") from error
    except (OSError, WebSocketException, TimeoutError, Missing) as error:
        raise Unreachable(f"no Realtime server answers at {host}: {error}") from error


def lines(card: Card) -> Iterator[str]:
    """The card, for people."""
    yield ""
    for name, values in sorted(card.figures.items()):
        shown = " ".join(f"{value:.0f}" for value in values)
        yield f"{name}: p50 {statistics.median(values):.0f} ms ({shown})"
    yield f"schema and order: {len(card.violations) or 'no'} violations"
    yield from (f"  {what}" for what in card.violations)
    if len(card.findings) < len(CHECKS):
        return  # what each client needs is not known then
    yield ""
    states = {found.name: found.state for found in card.findings}
    for client, needs in CLIENTS.items():
        breaks = [name for name in needs if states.get(name) == "wrong"]
        cannot = [name for name in needs if states.get(name) == "refused"]
        told = [f"breaks: {', '.join(breaks)}"] if breaks else []
        told += [f"this model cannot: {', '.join(cannot)}"] if cannot else []
        yield f"{client:<24}{'; '.join(told) or 'works'}"


def line_of(url: str, model: str = "") -> str:
    """The WebSocket of a server.

    Raises:
        InvalidSetting: that is no address.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https", "ws", "wss") or not parts.hostname:
        raise InvalidSetting(
            f"a server is named as http://host:port or wss://host/v1/realtime, not as {quoted(url)}"
        )
    path = parts.path.rstrip("/")
    path = path if path.endswith("/realtime") else f"{path or '/v1'}/realtime"
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    query = "&".join(filter(None, (parts.query, f"model={model}" if model else "")))
    return urlunsplit((scheme, parts.netloc, path, query, ""))
