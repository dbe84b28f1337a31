"""The page at `/`: the conversation as a chat with its recordings, and the voice panel."""

import re
from collections.abc import Sequence
from html import escape
from typing import Any, cast

import gradio as gr
from starlette.applications import Starlette
from starlette.requests import Request

from duologue.events import Settings
from duologue.history import History
from duologue.model import Turn
from duologue.transports.page.voice import Voice

# The chat takes the height that the panel leaves, so that Start and failures are always in sight.
# A list that begins at its bottom stays there by itself, or where its reader has scrolled to; Gradio's
# own scrolling pulls the reader down 300 ms after each update, and captions update more often.
# Gradio shows all words at an opacity of 0.8; the small ones are 4.5:1 with it on both themes.
_STYLE = """
footer, .duologue-chat .icon-button-wrapper { display: none !important; }
.gradio-container { width: 100% !important; max-width: 60rem !important; margin: 0 auto !important; }
.gradio-container > main { padding: 1rem !important; }
.column:has(> .duologue-chat) { height: calc(100dvh - 2rem); flex-wrap: nowrap; gap: 1rem; }
.duologue-head h1 { margin: 0; font-size: 1.5rem; }
.duologue-head p { margin: 0.25rem 0 0; }
.duologue-chat { flex: 1 1 0 !important; height: auto !important; min-height: 12rem !important; }
.duologue-chat .bubble-wrap { display: flex; flex-direction: column-reverse; }
.duologue-chat .bubble-wrap { scroll-snap-type: y proximity; }
.duologue-chat .bubble-wrap > * { margin-bottom: auto; scroll-snap-align: end; }
.duologue-chat .scroll-down-button-container { display: none; }
.duologue-chat .placeholder-content { padding: 1rem; text-align: center; }
.duologue-chat audio { display: block; width: 17rem; max-width: 100%; height: 40px; margin: 0; }
.duologue-chat p { margin: 0 0 0.4rem; }
.duologue-chat small { color: #3f3f46; }
.dark .duologue-chat small { color: #d4d4d8; }
.dark .duologue-chat audio { color-scheme: dark; }
.block:has(.voice) { flex: none !important; }
.html-container:has(.voice) { padding: 0 !important; }
"""

# A line that comes while its reader scrolls back to the end leaves them short of it by its height.
_SCRIPT = """<script>
document.addEventListener("scrollend", ({ target }) => {
  const nearly = target.matches?.(".duologue-chat .bubble-wrap") && target.scrollTop > -64;
  if (nearly) target.scrollTop = 0;
}, true);
</script>"""

_FONTS = ("system-ui", "sans-serif")
_FIXED_FONTS = ("ui-monospace", "monospace")


def build(
    history: History,
    model: str,
    note: str,
    settings: Settings,
    stream_every: float = 0.04,
    idle_timeout: float = 60.0,
) -> gr.Blocks:
    """The page as Gradio blocks, for `mount`.

    Args:
        history: where the conversations are read.
        model: its name, for the title.
        note: one line about the model.
        settings: those that a session begins with.
        stream_every: seconds of microphone that are sent at once.
        idle_timeout: seconds without a word after which the microphone is released.
    """

    async def show(event: gr.EventData, request: gr.Request) -> list[dict[str, Any]]:
        # The name comes from a browser; only its owner's conversations can be reached with it.
        name = str(event._data.get("conversation", ""))
        owner = cast(Request, request.request).state.user
        return messages(history.conversation(owner, name).turns())

    title = f"Duologue: {model}"
    blocks = gr.Blocks(analytics_enabled=False, title=title)
    with blocks:
        gr.Markdown(f"# Duologue\n\n{_as_text(note)}", elem_classes="duologue-head")
        chat = gr.Chatbot(
            show_label=False,
            height=None,
            buttons=[],
            autoscroll=False,
            feedback_options=None,
            latex_delimiters=[],
            placeholder="What you say and what is answered will stand here, to be heard again.",
            elem_classes="duologue-chat",
        )
        voice = Voice(
            stream_every=stream_every,
            barge_in=settings.interrupt_response,
            patience=settings.patience,
            idle_timeout=idle_timeout,
            time_limit=settings.time_limit,
        )
        # Past Gradio's queue: 33 ms instead of 50 until a turn is seen.
        voice.turn(
            show,
            None,
            chat,
            show_progress="hidden",
            api_visibility="private",
            concurrency_limit=None,
            queue=False,
            trigger_mode="always_last",  # or what comes while `show` runs would be dropped
        )
    return blocks


def mount(app: Starlette, blocks: gr.Blocks) -> None:
    """Serve the page at `/` of `app`, behind the routes it has. Nothing is fetched from elsewhere."""
    gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        theme=gr.themes.Default(primary_hue="blue", font=_FONTS, font_mono=_FIXED_FONTS),
        css=_STYLE,
        head=_SCRIPT,
    )


def messages(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """The turns as a chat shows them: words, a player, and what went wrong, if anything did."""
    shown = []
    for turn in turns:
        shown.append({"role": "user", "content": _utterance(turn)})
        reply = _reply(turn)
        if reply:
            shown.append({"role": "assistant", "content": reply})
    return shown


def _utterance(turn: Turn) -> str:
    pending = turn.status == "in_progress"
    words = _as_text(turn.user_text or "") or _small("…" if pending else "Your recording")
    return f"{words}\n\n{_player(turn.id, 'wav', 'What you said')}"


def _reply(turn: Turn) -> str:
    """Empty while there is nothing to show of it."""
    parts = [_as_text(turn.reply_text)]
    samples = sum(len(chunk.audio.samples) for chunk in turn.reply if chunk.audio)
    if turn.status == "in_progress":
        return parts[0]
    if samples:
        parts[0] = parts[0] or _small("The reply")
        # The length makes it another address after a truncation, so that no cache answers.
        parts.append(_player(turn.id, f"mp3?v={samples}", "The reply"))
    outcome = "" if turn.status == "completed" else turn.status
    told = " · ".join(filter(None, (outcome, turn.receipt.summary())))
    if told:
        parts.append(_small(_as_text(told)))
    return "\n\n".join(part for part in parts if part)


def _player(turn_id: str, kind: str, label: str) -> str:
    source = f"/v1/recordings/{escape(turn_id)}.{kind}"
    return f'<audio controls preload="none" aria-label="{label}" src="{source}"></audio>'


def _small(words: str) -> str:
    return f"<small>{words}</small>"


# A full stop behind a letter, as at the end of a sentence, makes neither a list nor a link.
_MARKUP = re.compile(r"(?!(?<=[^\W\d_])\.(?: |$))[^\w ,?!']|_")


def _as_text(words: str) -> str:
    """Words as themselves: what could be HTML or Markdown becomes character references."""
    return _MARKUP.sub(lambda match: f"&#{ord(match[0])};", " ".join(words.split()))
