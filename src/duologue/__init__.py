"""Talk with a speech model on your own machine."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duologue.transports.page.voice import Voice

__version__ = "0.1.0"
__all__ = ["Voice", "__version__"]


def __getattr__(name: str) -> object:
    """`duologue.Voice` is loaded when it is asked for: it needs Gradio, and all else does not."""
    if name != "Voice":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from duologue.transports.page.voice import Voice

    return Voice
