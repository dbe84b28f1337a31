"""What a client offers to the model, as it sends it: functions, and servers of tools (MCP). Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, Field

from duologue.errors import InvalidField, quoted
from duologue.tools import Function, ToolFilter, Tools, ToolServer
from duologue.transports.realtime.fields import Listed, Shape, validate

_MOST = 128  # functions and servers
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_HEADER = re.compile(r"[!-~]([ -~]*[!-~])?")  # what an HTTP header may carry


class _Filter(BaseModel):
    tool_names: list[str] | None = None
    read_only: bool | None = None


class _Approval(BaseModel):
    always: _Filter | None = None
    never: _Filter | None = None


class _Server(BaseModel):
    """The API's `mcp`."""

    server_label: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    server_url: str | None = Field(None, max_length=2048)
    server_description: str | None = Field(None, max_length=1024)
    authorization: str | None = Field(None, max_length=8192)
    headers: dict[str, str] | None = None
    allowed_tools: list[str] | _Filter | None = None
    require_approval: Literal["always", "never"] | _Approval | None = None


_NAMES = Listed(_MOST)
_FILTER: Shape = {"tool_names": _NAMES, "read_only": None}
_SERVER: Shape = {
    **dict.fromkeys(["server_label", "server_url", "server_description", "authorization"]),
    "headers": Listed(32),
    "allowed_tools": _FILTER,
    "require_approval": {"always": _FILTER, "never": _FILTER},
}


def decode_tools(fields: Mapping[str, Any], known: Tools, where: str) -> Tools:
    """What `tools` and `tool_choice` make of the tools that were known; what is absent stays.

    Args:
        fields: of a session or of a response.
        known: so far.
        where: they are, for errors: "session" or "response".

    Raises:
        InvalidField: one is wrong; says what.
    """
    tools = known
    if (given := fields.get("tools")) is not None:
        tools = _decode_all(given, known, where)
    if (chosen := fields.get("tool_choice")) is not None:
        tools = _choose(tools, chosen, f"{where}.tool_choice")
    return tools


def _decode_all(given: object, known: Tools, where: str) -> Tools:
    place = f"{where}.tools"
    if not isinstance(given, list) or len(given) > _MOST:
        raise InvalidField(f"{place} is a list of at most {_MOST} tools", place)
    functions, servers = [], []
    for number, tool in enumerate(given):
        if isinstance(tool, dict) and tool.get("type") == "mcp":
            servers.append(_server(tool, f"{place}[{number}]", new=where == "session"))
        else:
            functions.append(_function(tool, f"{place}[{number}]"))
    if len({function.name for function in functions}) < len(functions):
        raise InvalidField(f"{place} has two functions of one name", place)
    if len({server.label for server in servers}) < len(servers):
        raise InvalidField(f"{place} has two servers of one server_label", place)
    tools = replace(known, functions=tuple(functions), servers=tuple(servers))
    gone = not servers and tools.only not in {function.name for function in functions}
    return replace(tools, choice="auto", only="") if tools.only and gone else tools


def _choose(tools: Tools, chosen: object, place: str) -> Tools:
    names = {function.name for function in tools.functions}
    labels = {server.label for server in tools.servers}
    if chosen in ("auto", "none", "required"):
        return replace(tools, choice=chosen, only="")
    if isinstance(chosen, dict):
        name = chosen.get("name")
        if chosen.get("type") == "mcp" and chosen.get("server_label") in labels:
            only = name if isinstance(name, str) else ""
            return replace(tools, choice="required", only=only)
        if name in names:
            return replace(tools, choice="required", only=name)
    raise InvalidField(
        f"{place} is auto, none, required or one of the tools, not {quoted(chosen)}", place
    )


def _server(tool: dict[str, Any], place: str, *, new: bool) -> ToolServer:
    """A server of tools; one that is not `new` may be named by its label alone."""
    listed = isinstance(tool.get("allowed_tools"), list)
    server = validate(
        _Server, tool, place, {**_SERVER, **({"allowed_tools": _NAMES} if listed else {})}
    )
    url = server.server_url or ""
    if tool.get("connector_id") or tool.get("tunnel_id"):
        raise InvalidField(
            f"{place}: there are no connectors or tunnels here; name the server by its server_url",
            place,
        )
    if (url and not _is_address(url)) or (new and not url):
        raise InvalidField(
            f"{place}.server_url is the http or https address of a server of tools, not {quoted(url)}",
            f"{place}.server_url",
        )
    headers = tuple((server.headers or {}).items())
    for part in (server.authorization or "", *(part for pair in headers for part in pair)):
        if part and not _HEADER.fullmatch(part):
            raise InvalidField(f"{place} has a header that HTTP does not carry", f"{place}.headers")
    allowed, approval = server.allowed_tools, server.require_approval
    rules = approval if isinstance(approval, _Approval) else _Approval()
    return ToolServer(
        server.server_label,
        url,
        server.authorization or "",
        headers,
        server.server_description or "",
        ToolFilter(tuple(allowed))
        if isinstance(allowed, list)
        else _filter(allowed) or ToolFilter(),
        "never" if approval == "never" else "always",
        _filter(rules.always),
        _filter(rules.never),
    )


def _filter(given: _Filter | None) -> ToolFilter | None:
    if given is None:
        return None
    return ToolFilter(
        None if given.tool_names is None else tuple(given.tool_names), given.read_only
    )


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and url.isascii()


def _function(tool: object, place: str) -> Function:
    if not isinstance(tool, dict) or tool.get("type", "function") != "function":
        raise InvalidField(f"{place} is no function: its type is not 'function'", place)
    name, text, schema = tool.get("name"), tool.get("description"), tool.get("parameters")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidField(
            f"{place}.name has up to 64 letters, digits, _ or -, and is not {quoted(name)}",
            f"{place}.name",
        )
    if not isinstance(text, str | None):
        raise InvalidField(f"{place}.description is a text", f"{place}.description")
    if not isinstance(schema, dict | None):
        raise InvalidField(f"{place}.parameters is a JSON Schema", f"{place}.parameters")
    try:
        json.dumps([text, schema], ensure_ascii=False).encode()
    except (RecursionError, UnicodeEncodeError) as error:
        raise InvalidField(f"{place} cannot be sent on as JSON: {error}", place) from error
    return Function(name, text or "", schema or {})
