"""The ASGI app, its settings, and how it is served."""
