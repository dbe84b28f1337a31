"""The web page: a voice component for Gradio, and the app that this server shows at `/`."""

from duologue.transports.page.app import build, mount
from duologue.transports.page.voice import Voice, routes

__all__ = ["Voice", "build", "mount", "routes"]
