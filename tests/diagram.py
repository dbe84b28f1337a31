"""Draws the floor's table into docs/architecture.md: `python tests/diagram.py`."""

from pathlib import Path

from duologue.conversation.floor import TRANSITIONS, State

DOCUMENT = Path(__file__).parents[1] / "docs/architecture.md"
_BEGIN, _END = "<!-- the floor: begin -->\n", "<!-- the floor: end -->\n"


def diagram() -> str:
    """The table as Mermaid draws it; events that change no state are left out."""
    arrows: dict[tuple[State, State], list[str]] = {}
    for (state, event), (after, _) in TRANSITIONS.items():
        if state is not after:
            arrows.setdefault((state, after), []).append(event.__name__)
    lines = [
        f"    {state.name} --> {after.name}: {', '.join(sorted(events))}"
        for (state, after), events in sorted(
            arrows.items(), key=lambda arrow: [state.value for state in arrow[0]]
        )
    ]
    return "\n".join(["```mermaid", "stateDiagram-v2", "    [*] --> LISTENING", *lines, "```", ""])


def drawn(document: str) -> str:
    """The document with the drawing of the table as it is."""
    before, rest = document.split(_BEGIN)
    _, after = rest.split(_END)
    return f"{before}{_BEGIN}{diagram()}{_END}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(drawn(DOCUMENT.read_text("utf-8")), "utf-8")
