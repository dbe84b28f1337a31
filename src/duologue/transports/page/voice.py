"""A voice conversation as a Gradio component."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args
from unittest.mock import patch
from urllib.parse import urljoin, urlsplit

import gradio as gr
from gradio import component_meta
from gradio.components import Component
from gradio.events import EventListener
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from duologue.errors import InvalidSetting, quoted
from duologue.settings import PatienceSetting

_STATIC = Path(__file__).parent / "static"
_PATH = "/voice"

# Gradio runs this as the body of a function, where only a dynamic import works. The settings are a
# literal because Gradio loses custom props when it mounts a component again. The address is another at
# each try, as browsers may remember that a module did not come.
_ON_LOAD = """\
const address = new URL(%(module)s, document.baseURI);
const tell = (sentence) => {
  const line = element.querySelector("[role=alert]");
  if (line && line.textContent !== sentence) line.textContent = sentence;
};
const explain = async (error) => {
  const answer = await fetch(address).catch(() => null);
  if (!answer) return `The server at ${address.host} does not answer: see whether it is running.`;
  const place = address.host + address.pathname;
  if (!answer.ok) return `There is no voice panel at ${place}: see whether the address is right.`;
  return `The panel did not load as a whole (${error.message}): reload the page.`;
};
const load = async (attempt) => {
  let module;
  try {
    module = await import(attempt ? `${address}?${attempt}` : `${address}`);
  } catch (error) {
    tell(await explain(error));
    setTimeout(() => element.isConnected && load(attempt + 1), 3000);
    return;
  }
  tell("");
  module.mount({ element, trigger, props, watch, conf: %(conf)s });
};
load(0);"""

_LIMITS = {
    "stream_every": (0.01, 1.0),
    "pre_roll": (0.0, 5.0),
    "idle_timeout": (1.0, 3600.0),
    "time_limit": (1.0, 600.0),
}
"""Seconds."""


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
                voice.turn(show, None, words, show_progress="hidden", trigger_mode="always_last",
                           api_visibility="private")

            demo.launch(server_port=7861)

        An event's handler may return `gr.update(...)` or a `Voice(...)` to change a panel that is shown:
        `visible=False` ends its call and frees the microphone; a new `url` counts from the next Start.

        Args:
            label: of the panel, for screen readers; also keeps two panels in one page apart.
            url: of the line. The component's scripts are taken from the same server: of
                https://host/duologue/v1/realtime, from https://host/duologue/voice/.
            stream_every: seconds of microphone that are sent at once, outside of replies.
            pre_roll: seconds of a reply that must be there before it is played. 0.08: one chunk of most
                speech models, so that it costs nothing; the server sends faster than it is played.
            barge_in: speaking during a reply stops it; the user can switch that.
            patience: with the user's pauses: quick, normal or patient, which the user can switch and the
                browser remembers; fixed: as the server has it, and nothing to switch.
            idle_timeout: seconds without a word after which the microphone is released.
            time_limit: seconds after which the server ends an utterance; the user is then told so.
            value: none; Gradio wants to give one.
            visible, elem_id, elem_classes, scale, min_width, container, render, key, preserved_by_key,
            every, inputs, show_label: as of every Gradio component.

        Raises:
            InvalidSetting: a value that no panel can have.
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
            value: None = None,
            visible: bool | Literal["hidden"] = True,
            elem_id: str | None = None,
            elem_classes: list[str] | str | None = None,
            scale: int | None = None,
            min_width: int | None = None,
            container: bool = False,
            render: bool = True,
            key: int | str | tuple[int | str, ...] | None = None,
            preserved_by_key: list[str] | str | None = "value",
            every: gr.Timer | float | None = None,
            inputs: Component | Sequence[Component] | set[Component] | None = None,
            show_label: bool = False,
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
            _check(
                url,
                patience,
                stream_every=stream_every,
                pre_roll=pre_roll,
                idle_timeout=idle_timeout,
                time_limit=time_limit,
            )
            super().__init__(
                value,
                label=label,
                html_template=(_STATIC / "voice.html").read_text("utf-8"),
                css_template=(_STATIC / "voice.css").read_text("utf-8"),
                js_on_load=_on_load(urljoin(re.sub("^ws", "http", url), "../voice/voice.js"), conf),
                apply_default_css=False,
                every=every,
                inputs=inputs,
                show_label=show_label,
                visible=visible,
                elem_id=elem_id,
                elem_classes=elem_classes,
                scale=scale,
                min_width=min_width,
                container=container,
                render=render,
                key=key,
                preserved_by_key=preserved_by_key,
            )

        def preprocess(self, payload: object) -> None:
            """A panel has no value: what a handler gets as its input is None."""

        def postprocess(self, value: object) -> None:
            """Refuse what a handler gives back that is no change of the panel.

            Raises:
                InvalidSetting: anything but None.
            """
            if value is not None:
                raise InvalidSetting(
                    f"a Voice shows no value, so not {quoted(value)}; to change it, give back "
                    "gr.update(...) or a Voice(...)"
                )

        def api_info(self) -> dict[str, Any]:
            """For Gradio's API page: nothing but null."""
            return {"type": "null"}

        def example_payload(self) -> None:
            """As `api_info`."""

        def example_value(self) -> None:
            """As `api_info`."""

    class Chat(gr.HTML):
        """The conversation of the page's voice panel: its newest turns, with their recordings.

        It asks this server for them, so it only works on the server's own page.
        """

        EVENTS: list[EventListener] = []  # noqa: RUF012  as above

        def __init__(self, *, render: bool = True) -> None:
            super().__init__(
                html_template=(_STATIC / "chat.html").read_text("utf-8"),
                css_template=(_STATIC / "chat.css").read_text("utf-8"),
                js_on_load=_on_load("voice/chat.js", {}),
                apply_default_css=False,
                render=render,
            )


def _on_load(module: str, conf: Mapping[str, object]) -> str:
    return _ON_LOAD % {"module": json.dumps(module), "conf": json.dumps(conf)}


def _check(url: str, patience: str, **seconds: float) -> None:
    parts = urlsplit(url)
    remote = parts.scheme in ("http", "https", "ws", "wss") and parts.hostname
    if not (remote or (url and not parts.scheme and not parts.netloc)) or re.search(r"\s", url):
        raise InvalidSetting(
            f"url is {quoted(url)}, not the address of a line such as "
            "http://127.0.0.1:7860/v1/realtime, or a path on the page's own server"
        )
    if patience not in get_args(PatienceSetting):
        known = ", ".join(get_args(PatienceSetting))
        raise InvalidSetting(f"patience is one of {known}, not {quoted(patience)}")
    for name, value in seconds.items():
        low, high = _LIMITS[name]
        if not low <= value <= high:
            raise InvalidSetting(f"{name} goes from {low:g} to {high:g} seconds, not {value:g}")


def routes() -> list[BaseRoute]:
    """Where the component's scripts come from."""
    return [Mount(_PATH, _Scripts(directory=_STATIC))]


class _Scripts(StaticFiles):
    """Static files that are asked for anew each time, and that other servers' pages may import."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        # Modules import each other: an old one beside a new one must not happen after an update.
        response.headers["cache-control"] = "no-cache"
        response.headers["access-control-allow-origin"] = "*"
        return response
