"""The page at `/`: the conversation as a chat with its recordings, and the voice panel."""

import re
from typing import cast

import gradio as gr
from starlette.applications import Starlette
from starlette.routing import Mount

from duologue.settings import Settings
from duologue.transports.page.only import OnlyThePage
from duologue.transports.page.voice import Chat, Voice

# The chat takes the height that the panel leaves, so that Start and failures are in sight; in a window
# that is too low for all of it, the page scrolls. Gradio's own toasts know less than the panel tells.
_STYLE = """
footer, .toast-wrap { display: none !important; }
.gradio-container { width: 100% !important; max-width: 60rem !important; margin: 0 auto !important; }
.gradio-container > main { padding: 1rem !important; }
.column:has(> .block .duologue-chat) { min-height: calc(100dvh - 2rem); flex-wrap: nowrap; gap: 1rem; }
.duologue-head { flex: none !important; }
.duologue-head h1 { margin: 0; font-size: 1.5rem; }
.duologue-head p { margin: 0.25rem 0 0; }
.block:has(.duologue-chat) { flex: 1 1 0 !important; min-height: min(12rem, 60dvh) !important; }
.block:has(.duologue-chat) div:has(.duologue-chat) { height: 100%; }
.block:has(.voice) { flex: none !important; }
.html-container:has(.voice, .duologue-chat) { padding: 0 !important; }
"""

_FONTS = ("system-ui", "sans-serif")
_FIXED_FONTS = ("ui-monospace", "monospace")


def build(
    model: str,
    note: str,
    settings: Settings,
    stream_every: float = 0.04,
    idle_timeout: float = 60.0,
) -> gr.Blocks:
    """The page as Gradio blocks, for `mount`.

    Args:
        model: its name, for the title.
        note: one line about the model.
        settings: those that a session begins with.
        stream_every: seconds of microphone that are sent at once.
        idle_timeout: seconds without a word after which the microphone is released.
    """
    blocks = gr.Blocks(analytics_enabled=False, title=f"Duologue: {model}")
    with blocks:
        gr.Markdown(f"# Duologue\n\n{_as_text(note)}", elem_classes="duologue-head")
        Chat()
        Voice(
            url="v1/realtime",  # of the page itself, which a proxy may serve below a path
            stream_every=stream_every,
            barge_in=settings.interrupt_response,
            patience=settings.patience,
            idle_timeout=idle_timeout,
            time_limit=settings.time_limit,
        )
    return blocks


def mount(app: Starlette, blocks: gr.Blocks) -> None:
    """Serve the page at `/` of `app`, behind the routes it has. Nothing is fetched from elsewhere.

    Of Gradio's routes, only those that the page asks for are there.
    """
    # Nothing is ever put into Gradio's queue, which it looks into a thousand times a second otherwise.
    blocks._queue.sleep_when_free = 1.0
    gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        theme=gr.themes.Default(primary_hue="blue", font=_FONTS, font_mono=_FIXED_FONTS),
        css=_STYLE,
    )
    mounted = cast(Mount, app.router.routes[-1])
    mounted.app = OnlyThePage(mounted.app)


# A full stop behind a letter, as at the end of a sentence, makes neither a list nor a link.
_MARKUP = re.compile(r"(?!(?<=[^\W\d_])\.(?: |$))[^\w ,?!']|_")


def _as_text(words: str) -> str:
    """Words as themselves: what could be HTML or Markdown becomes character references."""
    return _MARKUP.sub(lambda match: f"&#{ord(match[0])};", " ".join(words.split()))
