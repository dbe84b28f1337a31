"""Tries a Realtime server, ours or another, as its clients use it: `duologue check URL`."""

from duologue.check.card import Card, Finding, examine, line_of, lines
from duologue.check.checks import CHECKS, Trial
from duologue.check.question import speak_question

__all__ = ["CHECKS", "Card", "Finding", "Trial", "examine", "line_of", "lines", "speak_question"]
