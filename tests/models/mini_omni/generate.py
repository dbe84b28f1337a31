"""One reply from beginning to end, in any of the model's modes: for parity, and for experiments."""

from duologue.errors import InvalidRequest
from duologue.models.mini_omni.decoding import SpokenReply, WrittenReply
from duologue.models.mini_omni.prompts import Task, question
from duologue.models.mini_omni.runtime import Floats, Ids, Runtime, Span, Tokens
from duologue.models.mini_omni.vocabulary import Vocabulary


def speak(
    runtime: Runtime,
    prompt: Ids,
    steps: int,
    features: Floats | None = None,
    *,
    parallel: bool = False,
) -> SpokenReply:
    """Answer in audio and text (A1A2, T1A2).

    Args:
        runtime: its rows 0 and 1 are used.
        prompt: of `speech_prompt` or `text_prompt`, [8, T - 1].
        steps: tokens at most; fewer where the model has no more positions.
        features: [F, D] of an utterance, adapted.
        parallel: let a second row write the text, undisturbed by the audio (the batch mode).

    Raises:
        InvalidRequest: the prompt leaves no position for an answer.
    """
    vocabulary = Vocabulary.of(runtime.shape)
    reply = SpokenReply(vocabulary)
    start, steps = _room(runtime, prompt, steps)
    runtime.tokens([Span(0, 0, prompt, features)])
    if parallel:
        runtime.fork(0, 1, start)
    speaks, writes = question(vocabulary, Task.A1A2), question(vocabulary, Task.A1T2)
    for step in range(steps):
        both = parallel and not reply.text_ended
        spans = [Span(0, start + step, speaks, audio=True, text=not (both or reply.text_ended))]
        if both:
            spans.append(Span(1, start + step, writes, text=True))
        tokens = runtime.tokens(spans)
        reply.take(tokens[0].audio, tokens[-1].text)
        if reply.ended:
            break
        speaks, writes = reply.audio_input, reply.text_input
    return reply


def write(
    runtime: Runtime, prompt: Ids, task: Task, steps: int, features: Floats | None = None
) -> WrittenReply:
    """Answer or repeat in text only (A1T2, A1T1, T1T2). Arguments and errors are those of `speak`."""
    vocabulary = Vocabulary.of(runtime.shape)
    reply = WrittenReply(vocabulary)
    start, steps = _room(runtime, prompt, steps)
    runtime.tokens([Span(0, 0, prompt, features)])
    ids = question(vocabulary, task)
    for step in range(steps):
        [tokens] = runtime.tokens([Span(0, start + step, ids, text=True)])
        reply.take(_wanted(tokens))
        if reply.ended:
            break
        ids = reply.text_input
    return reply


def _room(runtime: Runtime, prompt: Ids, steps: int) -> tuple[int, int]:
    """Where the question stands, and how many tokens there is room for."""
    start, positions = prompt.shape[1], runtime.shape.positions
    if start >= positions:
        raise InvalidRequest(
            f"a prompt may have {positions - 1} positions, and this one has {start}", "input"
        )
    return start, min(steps, positions - start)


def _wanted(tokens: Tokens) -> int:
    assert tokens.text is not None
    return tokens.text
