"""`GET /v1/turns`: the turns of a conversation, as the page's chat shows them, to their owner only."""

import secrets
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from duologue.conversation.items import Turn
from duologue.store.memory import History

_MOST = 50
"""Turns of one answer: what a page shows at once, and more."""


def routes(history: History) -> list[Route]:
    """`/v1/turns?conversation=NAME`, with `newest=N` or `before=TURN`: at most 50 at once.

    The answer's size goes by the turns that were asked for, not by the length of the conversation.
    What was never said and what is somebody else's look alike: there are no turns.
    """
    # Recordings live as long as the process; a page that is older must know that they are gone.
    server = secrets.token_hex(8)

    async def turns(request: Request) -> JSONResponse | PlainTextResponse:
        asked = request.query_params
        try:
            count = min(max(int(asked.get("newest", "20")), 1), _MOST)
        except ValueError:
            return PlainTextResponse("newest is a number of turns, as in newest=20", 400)
        record = history.conversation(request.state.user, asked.get("conversation", ""))
        kept = record.conversation.turns()
        if "before" in asked:
            place = next((i for i, turn in enumerate(kept) if turn.id == asked["before"]), 0)
            kept = kept[:place]
        first = max(0, len(kept) - count)
        body = {"server": server, "earlier": first, "turns": shown(kept[first:])}
        return JSONResponse(body, headers={"Cache-Control": "private, no-store"})

    return [Route("/v1/turns", turns)]


def shown(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """The turns in words and figures: what was said and answered, how long each took, how it ended.

    `heard` and `replied` are the seconds of the two recordings; 0: there is none. `nods` were said into the
    reply, and did not stop it.
    """
    return [
        {
            "id": turn.id,
            "status": turn.status,
            "user": _line(turn.user_text or ""),
            "reply": _line(turn.reply_text),
            "heard": round(turn.utterance.duration, 1),
            "replied": round(_seconds(turn), 1),
            # Another address after a truncation, so that no cache answers.
            "version": sum(len(chunk.audio.samples) for chunk in turn.reply if chunk.audio),
            "timings": turn.timings.summary() if _seconds(turn) else "",
            "nods": [
                {
                    "id": nod.turn_id,
                    "user": _line(nod.words or ""),
                    "heard": round(nod.seconds, 1),
                }
                for nod in turn.nods
            ],
        }
        for turn in turns
    ]


def _seconds(turn: Turn) -> float:
    return sum(chunk.audio.duration for chunk in turn.reply if chunk.audio)


def _line(words: str) -> str:
    return " ".join(words.split())
