"""Of what a stranger sends, the fields that mean something here. Pure.

pydantic sees no others, and no list that is long: whatever comes holds the interpreter for a few
milliseconds at most.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from duologue.errors import InvalidEvent

_REASON = 200  # characters of what pydantic says, which repeats what it was given

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Listed:
    """The shape of a list of at most so many things; of an object with as many fields of any name."""

    most: int
    each: "Shape | None" = None


Shape = Mapping[str, "Shape | Listed | None"]
"""The fields of an object, and the shape of each; None: a plain value."""


def pick(value: object, shape: Shape | Listed | None, where: str) -> object:
    """Of a value from a stranger what has this shape; a plain value is no list and no object.

    Raises:
        InvalidEvent: a list is too long.
    """
    if isinstance(shape, Listed):
        if isinstance(value, dict | list) and len(value) > shape.most:
            raise InvalidEvent(f"{where} has at most {shape.most} parts, and not {len(value)}")
        if isinstance(value, list):
            return [pick(part, shape.each, where) for part in value]
        if isinstance(value, dict):
            return {name: pick(part, None, where) for name, part in value.items()}
        return value
    if shape and isinstance(value, dict):
        return {
            name: pick(value[name], inner, f"{where}: {name}")
            for name, inner in shape.items()
            if name in value
        }
    return type(value)() if isinstance(value, dict | list) else value


def validate(model: type[_Model], fields: object, where: str, shape: Shape | None = None) -> _Model:
    """What pydantic makes of those fields that `model` has, or `shape`. It never sees the others.

    Raises:
        InvalidEvent: they are not what they should be; says the first thing that is wrong.
    """
    picked = pick(fields, shape or dict.fromkeys(model.model_fields), where)
    try:
        return model.model_validate(picked)
    except ValidationError as error:
        # Of a union's errors, the deepest is about the member that was meant; not that of another type.
        worst = max(
            error.errors(include_url=False, include_input=False, include_context=False),
            key=lambda detail: (len(detail["loc"]), detail["loc"][-1:] != ("type",)),
        )
        path = ".".join(str(part) for part in worst["loc"] if str(part).islower())
        reason = f"{where}: {path or 'the event'}: {worst['msg']}"
        raise InvalidEvent(reason[:_REASON]) from error
