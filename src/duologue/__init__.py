"""Talk with a speech model on your own machine."""

__version__ = "0.1.0"
