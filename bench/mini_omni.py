"""Mini-Omni on this machine's CPU: `python -m bench.mini_omni`. Random weights unless there are others.

Parts by themselves, at int8 and at full precision in torch; then replies over HTTP from a server of
its own. A step and a frame of SNAC may take 85.3 ms together.
"""

import asyncio
import base64
import http.client
import json
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np
from rigs.browser import chromium, find_chromium, open_page

from bench.load import RECORDINGS
from bench.page import turns
from bench.server import Server
from duologue.audio import INPUT_RATE, REPLY_RATE, Samples
from duologue.audio.files import read_audio
from duologue.audio.log_mel import frames_of, log_mel
from duologue.errors import ModelUnavailable
from duologue.models.mini_omni.arrangement import variant
from duologue.models.mini_omni.checkpoint import (
    SNAC,
    Checkpoint,
    find_checkpoint,
    read_tensors,
)
from duologue.models.mini_omni.cpu.runtime import CpuRuntime
from duologue.models.mini_omni.cpu.snac import SnacDecoder
from duologue.models.mini_omni.nets.shapes import CODEBOOKS
from duologue.models.mini_omni.nets.snac import snac_decoder
from duologue.models.mini_omni.nets.snac_stream import (
    LATENTS,
    SeededNoise,
    SnacStream,
    by_latent,
    speak,
)
from duologue.models.mini_omni.pace import FRAME_SECONDS
from duologue.models.mini_omni.prompts import Task, question, speech_prompt
from duologue.models.mini_omni.reply import ROWS
from duologue.models.mini_omni.runtime import Floats, Runtime, Span
from duologue.models.mini_omni.torch_runtime import open_torch
from duologue.models.mini_omni.vocabulary import Vocabulary
from duologue.system.cpus import cpus
from duologue.system.openvino import ov

THREADS = cpus()

_REPLIES = 36  # in Chromium


def roof() -> float:
    """Gigabytes a second that all threads together read from memory."""
    parts = [np.ones(2**25, np.float64) for _ in range(THREADS)]
    best = 0.0
    for _ in range(8):
        threads = [threading.Thread(target=part.sum) for part in parts]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        best = max(best, sum(part.nbytes for part in parts) / (time.perf_counter() - started))
    return best / 1e9


def median(call: Callable[[], object], count: int) -> float:
    """Milliseconds, after one call that does not count."""
    took = []
    for _ in range(count + 1):
        started = time.perf_counter()
        call()
        took.append(time.perf_counter() - started)
    return statistics.median(took[1:]) * 1000


def parts(runtime: Runtime, sound: Samples) -> dict[str, float]:
    """Milliseconds of everything that a reply consists of, by itself, and `first`: to the first sound."""
    vocabulary, frames = Vocabulary.of(runtime.shape), frames_of(sound)
    mel = log_mel(sound, 3000)
    prompt = speech_prompt(vocabulary, frames)
    says, writes = question(vocabulary, Task.A1A2), question(vocabulary, Task.A1T2)
    position = prompt.shape[1]

    def encode() -> list[Floats]:
        hearing = runtime.encode([mel], [frames])
        while True:
            try:
                next(hearing)
            except StopIteration as end:
                return list(end.value)

    [features] = encode()

    def prefill() -> None:
        runtime.tokens([Span(0, 0, prompt, features)])

    def step(*, text: bool) -> None:
        spans = [Span(0, position, says, audio=True)]
        runtime.tokens([*spans, Span(1, position, writes, text=True)] if text else spans)

    voice, codes = SnacStream(runtime.snac, SeededNoise(0)), np.zeros((1, LATENTS, 3), np.int64)
    took = {
        "log-mel": median(lambda: log_mel(sound, 3000), 10),
        "encoder": median(encode, 5),
        "prefill": median(prefill, 5),
        "step with text": median(lambda: step(text=True), 30),
        "step": median(lambda: step(text=False), 30),
        "SNAC": median(lambda: runtime.speak([voice], codes), 30),
    }
    steps = 10  # the prompt's last position, 6 more for the first latents, 3 for the look-ahead
    once = took["log-mel"] + took["encoder"] + took["prefill"]
    first = once + steps * took["step with text"] + 4 * took["SNAC"]
    print(
        f"{runtime.about}, ms p50, prompt of {position}: "
        + ", ".join(f"{part} {ms:.1f}" for part, ms in took.items())
        + f"; together to the first sound {first:.0f}; real-time factor with text "
        f"{(took['step with text'] + took['SNAC']) / FRAME_SECONDS / 1000:.2f}, "
        f"without {(took['step'] + took['SNAC']) / FRAME_SECONDS / 1000:.2f}"
    )
    return {**took, "first": first}


def share_of_roof(checkpoint: Checkpoint, took: dict[str, float]) -> None:
    """How fast a step reads its weights, of what the memory gives."""
    stored = read_tensors(variant(checkpoint, "int8"))
    body = sum(array.nbytes for name, array in stored.items() if name.startswith("layers."))
    text, audio = (stored[f"{name}_head.weight"].nbytes for name in ("text", "audio"))
    most = roof()
    for part, read in (("step with text", body + text + audio), ("step", body + audio)):
        rate = read / took[part] / 1e6
        print(f"{part}: {read / 1e6:.0f} MB of weights, {rate / most:.0%} of {most:.0f} GB/s")


def seams(checkpoint: Checkpoint) -> None:
    """How far sound that is streamed frame by frame is from what is decoded at once, in torch."""
    tensors, frames = read_tensors(checkpoint.folder / SNAC), 24
    codes = np.random.default_rng(0).integers(0, checkpoint.snac.codes, (1, CODEBOOKS, frames))
    core, sounds = ov.Core(), []
    for decoder, size in (
        (SnacDecoder(core, checkpoint.snac, tensors, {}), 1),
        (snac_decoder(checkpoint.snac, tensors), frames),
    ):
        voice, pieces = SnacStream(checkpoint.snac, SeededNoise(0)), []
        for start in range(0, frames, size):
            pieces += speak(decoder, [voice], by_latent(codes[:, :, start : start + size]))
        voice.end()
        pieces += speak(decoder, [voice], by_latent(codes[:, :, : voice.tail]))
        sounds.append(np.concatenate(pieces))
    streamed, whole = sounds
    print(
        f"SNAC streamed by single frames, {len(streamed)} samples: differs from the whole by at most "
        f"{np.abs(streamed - whole).max():.1e}, at an rms of {whole.std():.2f}"
    )


def nearness(checkpoint: Checkpoint) -> None:
    """How near the logits of each variant are to those of full precision, over a prompt and 40 steps."""
    vocabulary = Vocabulary.of(checkpoint.language_model)
    random = np.random.default_rng(0)
    tokens = random.integers(0, vocabulary.codes, (CODEBOOKS, 140))
    audio = [[vocabulary.shift(int(t), layer) for t in row] for layer, row in enumerate(tokens)]
    ids = np.array([*audio, random.integers(0, vocabulary.end_of_text, 140)])
    logits = {}
    for precision in ("fp32", "int8", "int4"):
        runtime = CpuRuntime(checkpoint, precision, rows=1, pool=True, threads=THREADS)
        runtime.tokens([Span(0, 0, ids[:, :100])])
        spans = [Span(0, at, ids[:, at : at + 1], audio=True, text=True) for at in range(100, 140)]
        found = [runtime.logits([span])[0] for span in spans]
        logits[precision] = [(known.audio.reshape(-1), known.text) for known in found]  # type: ignore[union-attr]
        runtime.close()
    for precision in ("int8", "int4"):
        for head, name in enumerate(("audio", "text")):
            pairs = [
                (a[head], b[head]) for a, b in zip(logits[precision], logits["fp32"], strict=True)
            ]
            near = [float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in pairs]  # type: ignore[operator, arg-type]
            print(
                f"{precision}, {name} logits: cosine to fp32 mean {np.mean(near):.4f}, min {min(near):.4f}"
            )


@dataclass
class Heard:
    """A reply as it came. Times are seconds after the request was sent."""

    first: float = 0.0
    last: float = 0.0
    seconds: float = 0.0
    late: float = 0.0

    @property
    def factor(self) -> float:
        """Seconds that a second of it took to make, from the first sound on."""
        return (self.last - self.first) / self.seconds


def ask(url: str, sound: bytes, heard: Heard) -> None:
    """One request to POST /chat."""
    body = json.dumps({"audio": base64.b64encode(sound).decode()})
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=300)
    started = time.perf_counter()
    connection.request("POST", "/chat", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert response.status == 200, response.read()
    while data := response.read1():
        now = time.perf_counter() - started
        heard.first = heard.first or now
        heard.late = max(heard.late, now - heard.first - heard.seconds)
        heard.seconds += len(data) / 2 / REPLY_RATE
        heard.last = now
    connection.close()


def memory(server: Server) -> float:
    """Most gigabytes that the server ever had in memory."""
    with open(f"/proc/{server.pid}/status") as status:
        lines = dict(line.split(":", 1) for line in status)
    return int(lines["VmHWM"].split()[0]) / 1e6


def serve(sound: bytes, computed: float) -> None:
    """Replies of 20 s from one server: one after the other, then two at once.

    `computed`: milliseconds that the parts take to the first sound; the rest is waiting and transport.
    """
    options = "precision=int8,device=cpu,max_reply=20"
    started = time.perf_counter()
    with Server("--model", "mini-omni", "--model-options", options) as server:
        ready = time.perf_counter() - started
        replies = [Heard() for _ in range(6)]
        for heard in replies:
            ask(server.url, sound, heard)
        first, *later = (heard.first * 1000 for heard in replies)
        p50 = statistics.median(later)
        print(
            f"server: start {ready:.1f} s; wav -> first sound, first question {first:.0f} ms, "
            f"then p50 {p50:.0f} ms, of it waiting and transport {p50 - computed:.0f}; "
            f"real-time factor p50 {statistics.median(h.factor for h in replies):.2f}; longest hole "
            f"{max(h.late for h in replies) * 1000:.0f} ms"
        )
        two(server, sound)
        print(f"server: peak memory {memory(server):.2f} GB")


def two(server: Server, sound: bytes) -> None:
    """A second user comes in the middle of a reply."""
    for _ in range(3):
        users = Heard(), Heard()
        threads = [threading.Thread(target=ask, args=(server.url, sound, user)) for user in users]
        threads[0].start()
        time.sleep(3.0)
        threads[1].start()
        for thread in threads:
            thread.join()
        told = "; ".join(
            f"{name}: first sound {user.first * 1000:.0f} ms, factor {user.factor:.2f}, "
            f"hole {user.late * 1000:.0f} ms"
            for name, user in zip(("first user", "second, 3 s later"), users, strict=True)
        )
        print(told)


async def talk() -> None:
    """Replies of 3 s in Chromium, to the recorded questions, one after the other."""
    said = ([read_audio(path) for path in RECORDINGS] * _REPLIES)[:_REPLIES]
    options = "precision=int8,device=cpu,max_reply=3"
    with Server(
        "--model", "mini-omni", "--model-options", options, "--patience", "normal"
    ) as server:
        async with chromium() as browser:
            page = await open_page(browser, server.url)
            await page.start()
            await turns(page, said, "mini-omni", "normal")


def main() -> None:
    try:
        checkpoint = find_checkpoint()
    except ModelUnavailable as error:
        print(f"skipped: {error} (or with --random)")
        return
    if not RECORDINGS:
        print("skipped: the recordings in ../shared/audio are not here")
        return
    print(f"Mini-Omni, {checkpoint.source}, {THREADS} threads")
    sound = read_audio(RECORDINGS[1]).at(INPUT_RATE)
    runtime = CpuRuntime(checkpoint, "int8", rows=ROWS, pool=True, threads=THREADS)
    took = parts(runtime, sound.samples)
    share_of_roof(checkpoint, took)
    runtime.close()
    exact = open_torch(checkpoint, device="cpu", precision="fp32", rows=ROWS, pool=False)
    parts(exact, sound.samples)
    exact.close()
    seams(checkpoint)
    nearness(checkpoint)
    serve(RECORDINGS[1].read_bytes(), took["first"])
    if find_chromium():
        asyncio.run(talk())
    else:
        print("skipped: there is no Chromium")


if __name__ == "__main__":
    main()
