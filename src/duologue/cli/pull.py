"""What `duologue pull` does besides fetching one file: the list, and Mini-Omni."""

from collections.abc import Callable
from pathlib import Path

from duologue import weights
from duologue.errors import InvalidSetting

MINI_OMNI = "mini-omni"


def listing() -> str:
    """A table of all weights: size, licence, what they are for, where they lie."""
    rows = [("name", "MB", "licence", "for", "where")]
    for status in weights.status():
        row = weights.WEIGHTS[status.name]
        where = {
            "ok": str(status.path),
            "missing": f"missing; get them: {status.how}",
            "damaged": f"damaged; get them again: {status.how}",
        }[status.state]
        rows.append((row.name, f"{row.size / 1e6:.0f}", row.licence, row.purpose, where))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            cell.rjust(width) if number == 1 else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "".join(f"{line.rstrip()}\n" for line in lines)


def pull_mini_omni(
    revision: str | None, folder: Path | None, random: bool, say: Callable[[str], None]
) -> str:
    """Fetch, or make, Mini-Omni's weights, and convert them; gives what there is then.

    Args:
        revision: of the hub's repository; None: what is there, else main.
        folder: with the original's files; None: they come from the hub.
        random: weights that were never trained are made.
        say: is told of each step.
    """
    if folder and (revision or random):
        raise InvalidSetting("--from takes neither --revision nor --random")
    # Imported here, because they take torch, or the packages of an extra.
    from duologue.models.mini_omni.arrangement import is_made, variant

    if random:
        from duologue.models.mini_omni import random_weights

        there, made = random_weights.pull(say)
    elif folder:
        from duologue.models.mini_omni import convert
        from duologue.models.mini_omni.original import Original

        there, made = convert.pull(Original.in_folder(folder), say), True
    else:
        from duologue.models.mini_omni import hub

        there, made = hub.pull(revision, say)
    if not is_made(there, "int8"):
        say("rounding the weights to 8 bits, once")
        variant(there, "int8")
        made = True
    weights.pull("silero-vad")  # without it, no model can be served
    weights.pull("smart-turn")  # without it, every model waits longer than it has to
    noise = ": it will utter noise" if there.random else ""
    state = "in" if made else "there already, in"
    return f"{there.source}{noise}; {state} {there.folder}"
