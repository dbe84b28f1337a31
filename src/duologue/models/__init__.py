"""Models: one module is one model; it defines `load(**options) -> SpeechModel`."""
