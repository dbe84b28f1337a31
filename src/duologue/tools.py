"""What a model may call: functions of the client, and of servers that this server calls for it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Function:
    """A function that somebody carries out for the model.

    Attributes:
        name: letters, digits, `_` and `-`.
        description: what it does, and when to call it.
        parameters: JSON Schema of its arguments.
        server: label of the server that carries it out; empty: the client does.
        read_only: that server says that it changes nothing.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    server: str = ""
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class ToolFilter:
    """Some of a server's functions.

    Attributes:
        names: of these; None: of any name.
        read_only: those alone that change nothing (True), or that may (False); None: both.
    """

    names: tuple[str, ...] | None = None
    read_only: bool | None = None

    def takes(self, function: Function) -> bool:
        """Whether this is one of them."""
        named = self.names is None or function.name in self.names
        return named and self.read_only in (None, function.read_only)


@dataclass(frozen=True, slots=True)
class ToolServer:
    """A server of the Model Context Protocol (MCP), whose functions this server calls for the model.

    Attributes:
        label: the client's name for it.
        url: http or https; empty: of the session's server of this label.
        authorization: token that it is shown; empty: none.
        headers: that it is sent, too.
        description: what it is good for; empty: it is not known.
        allowed: those of its functions that the model may call.
        approval: whether the client is asked before a call, where no filter says so.
        asked: before these calls it is asked; None: before none in particular.
        unasked: before these it is not; None: likewise.
    """

    label: str
    url: str = ""
    authorization: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    description: str = ""
    allowed: ToolFilter = ToolFilter()
    approval: Literal["always", "never"] = "always"
    asked: ToolFilter | None = None
    unasked: ToolFilter | None = None

    def asks(self, function: Function) -> bool:
        """Whether the client is asked before this function is called."""
        if self.asked and self.asked.takes(function):
            return True
        if self.unasked and self.unasked.takes(function):
            return False
        return self.approval == "always"


@dataclass(frozen=True, slots=True)
class Tools:
    """What a model may call.

    Attributes:
        functions: all of them.
        choice: it may call some, may call none, or must call one.
        only: the function that it must call; empty: whichever it wants.
        servers: whose functions it may call besides, once they are known.
    """

    functions: tuple[Function, ...] = ()
    choice: Literal["auto", "none", "required"] = "auto"
    only: str = ""
    servers: tuple[ToolServer, ...] = ()

    @property
    def offered(self) -> tuple[Function, ...]:
        """Those that may be called."""
        return () if self.choice == "none" else self.functions


NO_TOOLS = Tools()


@dataclass(frozen=True, slots=True)
class ToolFailure:
    """Why a server did not do what it was called for.

    Attributes:
        kind: the tool failed; the server's answer is an error of the protocol, or of HTTP.
        message: in a sentence.
        code: of the protocol, or of HTTP; 0: none.
    """

    kind: Literal["tool_execution_error", "protocol_error", "http_error"]
    message: str
    code: int = 0
