"""How replies sound and how long they may be, as clients send it. Pure."""

from typing import Any

from duologue.errors import InvalidField, quoted

UNNAMED = "default"
"""What the only voice of a model is called that gives it no name."""

_SPEEDS = 0.25, 1.5
_MOST = 4096  # tokens


def decode_output(fields: object, where: str) -> dict[str, Any]:
    """What `audio.output.voice`, `audio.output.speed` and `max_output_tokens` say; what is absent stays.

    Args:
        fields: of a session or of a response.
        where: they are, for errors: "session" or "response".

    Returns:
        Fields of `Settings`, and of `ReplyRequested`, by their names.

    Raises:
        InvalidField: one is wrong; says what.
    """
    output = fields
    for name in ("audio", "output"):
        output = output.get(name) if isinstance(output, dict) else None
    named: dict[str, Any] = {}
    if isinstance(output, dict):
        if (voice := output.get("voice")) is not None:
            named["voice"] = _voice(voice, f"{where}.audio.output.voice")
        if (speed := output.get("speed")) is not None:
            named["speed"] = _speed(speed, f"{where}.audio.output.speed")
    if isinstance(fields, dict) and (limit := fields.get("max_output_tokens")) is not None:
        named["max_output_tokens"] = _limit(limit, f"{where}.max_output_tokens")
    return named


def _voice(value: object, place: str) -> str:
    """Its name, whether somebody has such a voice or not; empty: the usual one."""
    name = value.get("id") if isinstance(value, dict) else value
    if not isinstance(name, str):
        raise InvalidField(
            f"{place} is the name of a voice, or an object with its id, not {quoted(value)}", place
        )
    return "" if name == UNNAMED else name


def _speed(value: Any, place: str) -> float:
    slowest, quickest = _SPEEDS
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not good or not slowest <= value <= quickest:
        raise InvalidField(
            f"{place} is a number from {slowest} to {quickest}, not {quoted(value)}", place
        )
    return float(value)


def _limit(value: object, place: str) -> int:
    if value == "inf":
        return 0
    if type(value) is not int or not 1 <= value <= _MOST:
        raise InvalidField(
            f"{place} is a whole number from 1 to {_MOST}, or 'inf', not {quoted(value)}", place
        )
    return value
