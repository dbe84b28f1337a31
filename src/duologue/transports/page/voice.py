"""A voice conversation as a Gradio component."""

import json
import re
from pathlib import Path
from unittest.mock import patch
from urllib.parse import urljoin

import gradio as gr
from gradio import component_meta
from gradio.events import EventListener
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from duologue.events import PatienceSetting

_STATIC = Path(__file__).parent / "static"
_PATH = "/voice/"

# Gradio runs this as the body of a function, where only a dynamic import works. The settings are a
# literal because Gradio loses custom props when it mounts a component again.
_ON_LOAD = """\
import(%(module)s).then(({ mount }) => mount({ element, trigger, conf: %(conf)s }), () => {
  element.querySelector("[role=alert]").textContent = "The page did not load as a whole: reload it.";
});"""


# Gradio writes a .pyi beside the source of every component when it is imported, and type checkers
# then read that instead of the source.
with patch.object(component_meta, "create_or_modify_pyi"):

    class Voice(gr.HTML):
        r"""Talk with a Duologue server from any Gradio app: a button, a level meter, a status line.

        It captures the microphone, plays the replies and stops them when the user speaks. Its root
        element carries `data-state`: idle, connecting, listening, hearing, thinking or speaking; and
        `data-ducked` while a reply is played quietly because the user may be interrupting.

        Two events. `turn`: the conversation has changed; `event.conversation` is its name on the
        server, `event.user` and `event.reply` the last words that are known of either side. `failure`:
        something went wrong; `event.code`, and `event.message`, the sentence that the user reads. All of
        it comes from a browser, so trust it no more than that.

        With `duologue serve --allow-origin http://127.0.0.1:7861` running, this is a whole app:

            import gradio as gr
            from duologue import Voice

            def show(event: gr.EventData) -> str:
                return f"You: {event.user}\nIt: {event.reply}"

            with gr.Blocks() as demo:
                voice = Voice(url="http://127.0.0.1:7860/v1/realtime")
                words = gr.Textbox(label="Last words", lines=2)
                # "always_last": or what comes while `show` runs would be dropped.
                voice.turn(show, None, words, show_progress="hidden", trigger_mode="always_last")

            demo.launch(server_port=7861)

        Args:
            label: of the panel, for screen readers; also keeps two panels in one page apart.
            url: of the line. The component's scripts are taken from the same server.
            stream_every: seconds of microphone that are sent at once, outside of replies.
            pre_roll: seconds of a reply that must be there before it is played. 0.08: one chunk of most
                speech models, so that it costs nothing; the server sends faster than it is played.
            barge_in: speaking during a reply stops it; the user can switch that.
            patience: with the user's pauses: quick, normal or patient, which the user can switch and the
                browser remembers; fixed: as the server has it, and nothing to switch.
            idle_timeout: seconds without a word after which the microphone is released.
            time_limit: seconds after which the server ends an utterance; the user is then told so.
        """

        EVENTS = [  # noqa: RUF012  Gradio's own declaration
            EventListener("turn", doc="The conversation has changed."),
            EventListener("failure", doc="Something went wrong; the user has been told."),
        ]

        def __init__(
            self,
            label: str = "Voice conversation",
            *,
            url: str = "/v1/realtime",
            stream_every: float = 0.04,
            pre_roll: float = 0.08,
            barge_in: bool = True,
            patience: PatienceSetting = "normal",
            idle_timeout: float = 60.0,
            time_limit: float = 30.0,
        ) -> None:
            conf = {
                "label": label,
                "url": url,
                "streamEvery": stream_every,
                "preRoll": pre_roll,
                "bargeIn": barge_in,
                "patience": patience,
                "idleTimeout": idle_timeout,
                "timeLimit": time_limit,
            }
            module = urljoin(re.sub("^ws", "http", url), f"{_PATH}voice.js")
            super().__init__(
                html_template=(_STATIC / "voice.html").read_text("utf-8"),
                css_template=(_STATIC / "voice.css").read_text("utf-8"),
                js_on_load=_ON_LOAD % {"module": json.dumps(module), "conf": json.dumps(conf)},
                apply_default_css=False,
            )


def routes() -> list[BaseRoute]:
    """Where the component's scripts come from. They must stand in front of Gradio's mount at `/`."""
    return [Mount(_PATH.rstrip("/"), _Scripts(directory=_STATIC))]


class _Scripts(StaticFiles):
    """Static files that are asked for anew each time, and that other servers' pages may import."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        # Modules import each other: an old one beside a new one must not happen after an update.
        response.headers["cache-control"] = "no-cache"
        response.headers["access-control-allow-origin"] = "*"
        return response
