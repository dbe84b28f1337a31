"""The cost of the line: CPU for 100 ms of sound each way, a message of 15 MiB (`python -m bench.line`)."""

import base64
import json
import statistics
import time
from collections.abc import Callable

from duologue.audio import REPLY_RATE
from duologue.conversation.events import AudioReceived, ReplyDelta
from duologue.settings import Settings
from duologue.testing import tone
from duologue.transports.realtime.decode import decode_message
from duologue.transports.realtime.encode import Encoder
from duologue.transports.realtime.formats import Reader

_TIMES = 1_000
_BYTES = 11_700_000  # of sound in a message of 15 MiB, just below what is taken


def main() -> None:
    """Print the figures."""
    settings, sound = Settings(), tone(0.1, REPLY_RATE)
    message, reader = _append(sound.pcm16()), Reader("pcm24")
    encoder, delta = Encoder("model"), ReplyDelta("resp", "item", sound, "hello ")

    def take() -> None:
        for event in decode_message(message, settings):
            if isinstance(event, AudioReceived):
                reader.push(event.chunk)

    steps = [_longest() for _ in range(5)]
    print(
        f"the line, 100 ms of sound: in {_cost(take):.2f} ms of CPU, out "
        f"{_cost(lambda: list(encoder.encode(delta))):.2f} ms; a message of 15 MiB: longest step "
        f"{statistics.median(steps) * 1000:.1f} ms, median of {len(steps)}"
    )


def _append(data: bytes) -> str:
    audio = base64.b64encode(data).decode()
    return json.dumps({"type": "input_audio_buffer.append", "audio": audio})


def _cost(work: Callable[[], object]) -> float:
    """Milliseconds of CPU."""
    begun = time.process_time()
    for _ in range(_TIMES):
        work()
    return (time.process_time() - begun) / _TIMES * 1000


def _longest() -> float:
    """Seconds for which a large message keeps all others waiting."""
    message, longest = _append(bytes(_BYTES)), 0.0
    begun = time.perf_counter()
    for _ in decode_message(message, Settings()):
        longest = max(longest, time.perf_counter() - begun)
        begun = time.perf_counter()
    return longest


if __name__ == "__main__":
    main()
