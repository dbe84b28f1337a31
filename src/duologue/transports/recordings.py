"""`GET /v1/recordings/…`: both voices of a turn, to their owner only."""

import asyncio
import re
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from duologue.audio import AudioChunk, to_mp3, to_wav
from duologue.conversation.items import Turn

Find = Callable[[str, str], Turn | None]
"""(owner, turn id) -> the turn, if it is this owner's."""

_Encode = Callable[[AudioChunk], bytes]


def routes(find: Find) -> list[Route]:
    """`{turn}.wav`: what the user said; `{turn}.mp3`: what was answered, as one file.

    404 for what is not there, and for what is somebody else's: the two look alike.
    """

    async def user(request: Request) -> Response:
        turn = find(request.state.user, request.path_params["turn"])
        return await _answer(request, turn.utterance if turn else None, to_wav, "audio/wav")

    async def reply(request: Request) -> Response:
        turn = find(request.state.user, request.path_params["turn"])
        return await _answer(request, turn.reply_audio if turn else None, to_mp3, "audio/mpeg")

    return [
        Route("/v1/recordings/{turn}.wav", user),
        Route("/v1/recordings/{turn}.mp3", reply),
    ]


async def _answer(
    request: Request, sound: AudioChunk | None, encode: _Encode, media_type: str
) -> Response:
    if not sound or not sound.duration:
        return PlainTextResponse("there is no such recording", 404)
    # 30 s of MP3 take 60 ms of a core.
    data = await asyncio.to_thread(encode, sound)
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-store",  # a reply that is cut short later is another file
        "X-Content-Type-Options": "nosniff",
    }
    wanted = re.fullmatch(r"bytes=([0-9]{1,15})-([0-9]{0,15})", request.headers.get("range", ""))
    if not wanted:
        return Response(data, media_type=media_type, headers=headers)
    # Safari plays nothing from a server without ranges.
    first = int(wanted[1])
    last = min(int(wanted[2] or len(data)), len(data) - 1)
    if first > last:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{len(data)}"})
    headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
    return Response(data[first : last + 1], 206, headers, media_type)
