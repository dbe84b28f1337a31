"""The functions that a client offers to the model, as it sends them. Pure."""

import json
import re
from collections.abc import Mapping
from typing import Any

from duologue.errors import InvalidField, quoted
from duologue.model import Function, Tools

_MOST = 128  # functions
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def decode_tools(fields: Mapping[str, Any], known: Tools, where: str) -> Tools:
    """What `tools` and `tool_choice` make of the functions that were known; what is absent stays.

    Servers of the Model Context Protocol (`type: mcp`) are left out: see `names_servers`.

    Args:
        fields: of a session or of a response.
        known: so far.
        where: they are, for errors: "session" or "response".

    Raises:
        InvalidField: one is wrong; says what.
    """
    functions, choice, only = known.functions, known.choice, known.only
    if (given := fields.get("tools")) is not None:
        place = f"{where}.tools"
        if not isinstance(given, list) or len(given) > _MOST:
            raise InvalidField(f"{place} is a list of at most {_MOST} functions", place)
        functions = tuple(
            _function(tool, f"{place}[{number}]")
            for number, tool in enumerate(given)
            if not _is_server(tool)
        )
        if len({function.name for function in functions}) < len(functions):
            raise InvalidField(f"{place} has two functions of one name", place)
        if only and only not in {function.name for function in functions}:
            choice, only = "auto", ""
    if (chosen := fields.get("tool_choice")) is not None:
        place = f"{where}.tool_choice"
        names = {function.name for function in functions}
        if chosen in ("auto", "none", "required"):
            choice, only = chosen, ""
        elif isinstance(chosen, dict) and chosen.get("name") in names:
            choice, only = "required", chosen["name"]
        else:
            raise InvalidField(
                f"{place} is auto, none, required or one of the functions, not {quoted(chosen)}",
                place,
            )
    return Tools(functions, choice, only)


def names_servers(fields: object) -> bool:
    """Whether `tools` has servers of the Model Context Protocol."""
    tools = fields.get("tools") if isinstance(fields, dict) else None
    return isinstance(tools, list) and any(_is_server(tool) for tool in tools)


def _is_server(tool: object) -> bool:
    return isinstance(tool, dict) and tool.get("type") == "mcp"


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
