"""Which clients need what. Found by running them; the versions stand in docs/clients.md."""

BASE = ("session", "spoken turns", "barge-in")
"""What every client needs."""

CLIENTS: dict[str, tuple[str, ...]] = {
    "openai (Python)": (*BASE, "push to talk"),
    "openai (npm)": (*BASE, "push to talk"),
    "openai-agents (Python)": (*BASE, "items", "errors"),
    "@openai/agents": (*BASE, "items", "errors"),
    "Vercel AI SDK": (*BASE, "push to talk"),
    "Pipecat": (*BASE, "items", "errors", "written turns"),
    "LiveKit Agents": (*BASE, "items", "errors", "written turns", "out of band"),
    "pydantic-ai": (*BASE, "items", "errors", "written turns"),
    "Open WebUI": (
        *BASE,
        *("items", "errors", "written turns", "out of band", "own responses", "listening along"),
        "sizes",
    ),
    "openclaw": (*BASE, "items", "errors", "written turns", "telephone"),
}
"""client -> the checks without which it does not work."""
