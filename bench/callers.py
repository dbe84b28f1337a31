"""Callers in a process of their own: each speaks in real time over the line and times what comes.

Run by the other benchmarks; prints one JSON object a reply:
`{"first": seconds from the last word to the first sound, "late": [seconds that each chunk came after it
was due], "timings": the server's own account of the turn}`.
"""

import argparse
import asyncio
import base64
import json
import sys
import time
from pathlib import Path

import numpy as np
from websockets.asyncio.client import ClientConnection, connect

from duologue.audio import AudioChunk, silence
from duologue.audio.files import read_audio

RATE = 24_000
CHUNK = 0.04
_QUIET = 0.02  # of the peak, -34 dB: below it, the end of a recording is silence


class Caller:
    """One conversation: says its questions one after the other, each when the last was answered."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._last_word = 0.0
        self._sound = asyncio.Event()
        self._answered = asyncio.Event()
        self._reply: dict[str, object] = {}

    async def call(self, questions: list[AudioChunk]) -> None:
        receiving = asyncio.create_task(self._receive())
        for question in questions:
            self._reply = {"late": []}
            self._answered.clear()
            await self._say(question)
            sys.stdout.write(json.dumps(self._reply) + "\n")
            sys.stdout.flush()
        receiving.cancel()

    async def _say(self, question: AudioChunk) -> None:
        """Send the question, then silence until the answer was heard, in real time."""
        loud = np.flatnonzero(np.abs(question.samples) > _QUIET * np.abs(question.samples).max())
        end = loud[-1] / RATE
        start, sent = time.monotonic(), 0.0
        self._last_word = start + end
        while not self._answered.is_set():
            chunk = question.between(sent, sent + CHUNK)
            if chunk.duration < CHUNK:
                chunk = AudioChunk(
                    np.pad(chunk.samples, (0, round(CHUNK * RATE) - len(chunk.samples))), RATE
                )
            sent += CHUNK
            # A microphone gives a chunk when its last sample was spoken.
            await asyncio.sleep(max(0.0, start + sent - time.monotonic()))
            audio = base64.b64encode(chunk.pcm16()).decode()
            await self._socket.send(
                json.dumps({"type": "input_audio_buffer.append", "audio": audio})
            )

    async def _receive(self) -> None:
        first, due = 0.0, 0.0
        async for message in self._socket:
            now = time.monotonic()
            event = json.loads(message)
            match event["type"]:
                case "response.output_audio.delta":
                    if "first" not in self._reply:
                        first, due = now, 0.0
                        self._reply["first"] = now - self._last_word
                    late = self._reply["late"]
                    assert isinstance(late, list)
                    late.append(max(0.0, now - first - due))
                    due += len(base64.b64decode(event["delta"])) / 2 / RATE
                case "response.done":
                    self._reply["timings"] = event["response"]["metadata"]
                    asyncio.get_running_loop().call_later(
                        max(0.0, first + due - now) + 0.1, self._answered.set
                    )
                case "error":
                    raise SystemExit(event["error"]["message"])


async def call(url: str, questions: list[AudioChunk], start: float) -> None:
    await asyncio.sleep(start)
    async with connect(url, max_size=None) as socket:
        await socket.recv()
        await Caller(socket).call(questions)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("callers", type=int)
    parser.add_argument("turns", type=int)
    parser.add_argument("recordings", type=Path, nargs="+")
    arguments = parser.parse_args()
    pause = silence(0.4, RATE)
    questions = []
    for path in arguments.recordings:
        sound = read_audio(path).at(RATE)
        questions.append(AudioChunk(np.concatenate((pause.samples, sound.samples)), RATE))
    async with asyncio.TaskGroup() as tasks:
        for number in range(arguments.callers):
            shift = number % len(questions)
            said = (questions[shift:] + questions[:shift]) * arguments.turns
            tasks.create_task(call(arguments.url, said[: arguments.turns], number * 0.13))


asyncio.run(main())
