"""The web page: a voice component for Gradio, and the app that this server shows at `/`."""

from starlette.routing import BaseRoute

from duologue.store.memory import History
from duologue.transports.page import turns, voice
from duologue.transports.page.app import build, mount
from duologue.transports.page.voice import Voice

__all__ = ["Voice", "build", "mount", "routes"]


def routes(history: History) -> list[BaseRoute]:
    """What the page fetches. They must stand in front of Gradio's mount at `/`."""
    return [*voice.routes(), *turns.routes(history)]
