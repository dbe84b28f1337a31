"""Ctrl-C and SIGTERM, from the first line of the program on."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no signals for other processes")

_MODEL = """
import asyncio, time
from duologue.conversation.prompt import Capabilities

class Model:
    capabilities = Capabilities(False, False, False, "A model of the tests.")

    async def start(self):
        print("starting", flush=True)
        {start}

    async def close(self):
        {close}

def load():
    return Model()
"""


def write_model(folder: Path, start: str, close: str = "pass") -> None:
    """Write `tests_own.model`, a model that does this as it starts and as it ends."""
    package = folder / "tests_own"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "model.py").write_text(_MODEL.format(start=start, close=close))


@contextmanager
def started(folder: Path, *command: str) -> Iterator["subprocess.Popen[str]"]:
    """A command, with modules from this folder and its temporary files in `folder/tmp`."""
    (folder / "tmp").mkdir()
    path = os.pathsep.join((str(folder), *sys.path))
    with subprocess.Popen(
        [sys.executable, "-m", "duologue", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "TMPDIR": str(folder / "tmp")},
        # A shell that runs the tests in the background has them ignore Ctrl-C, and so what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(word: str, process: "subprocess.Popen[str]") -> None:
    assert process.stdout
    for line in process.stdout:
        if line.strip() == word:
            return
    pytest.fail(f"it ended without {word!r}: {process.communicate()[1]}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_imports_ends_it_without_a_traceback(
    number: int, tmp_path: Path
) -> None:
    (tmp_path / "soxr.py").write_text(
        "import time\nprint('importing', flush=True)\ntime.sleep(600)\n"
    )
    with started(tmp_path, "serve") as process:
        wait_for("importing", process)
        process.send_signal(number)
        assert process.wait(60) == -number
        assert process.communicate()[1] == ""


SERVE = ("serve", "--model", "tests_own.model", "--port", "0", "--no-page")


@pytest.mark.parametrize("command", [SERVE, ("say", "QUESTION", "--model", "tests_own.model")])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_model_starts_is_said_and_leaves_nothing_behind(
    number: int, command: tuple[str, ...], tmp_path: Path, sound: Path
) -> None:
    write_model(tmp_path, "await asyncio.sleep(600)", "print('closed', flush=True)")
    given = [str(sound) if word == "QUESTION" else word for word in command]
    with started(tmp_path, *given) as process:
        wait_for("starting", process)
        assert len(list((tmp_path / "tmp").iterdir())) == 1
        process.send_signal(number)
        wait_for("closed", process)
        assert process.wait(60) == 128 + number
        assert process.communicate()[1] == "duologue: stopping (a second Ctrl-C ends it at once)\n"
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_page_that_is_being_loaded_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "gradio.py").write_text(
        "import time\nprint('loading', flush=True)\ntime.sleep(600)\n"
    )
    write_model(tmp_path, "await asyncio.sleep(600)", "print('closed', flush=True)")
    with started(tmp_path, *SERVE[:-1]) as process:
        wait_for("loading", process)
        process.send_signal(signal.SIGTERM)
        wait_for("closed", process)
        assert process.wait(60) == 128 + signal.SIGTERM
        assert process.communicate()[1].count("\n") == 1
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_second_signal_waits_for_nothing(tmp_path: Path) -> None:
    write_model(tmp_path, "await asyncio.to_thread(time.sleep, 600)")
    with started(tmp_path, *SERVE) as process:
        wait_for("starting", process)
        process.send_signal(signal.SIGINT)
        assert process.stderr
        assert process.stderr.readline().startswith("duologue: stopping")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 128 + signal.SIGINT
        assert process.communicate()[1] == ""
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("MemoryError()", "not enough memory"),
        ("RuntimeError('Exception from core.cpp: bad_alloc')", "not enough memory"),
        ('RuntimeError("can\'t start new thread")', "no more processes or threads"),
        ("BlockingIOError(11, 'Resource temporarily unavailable')", "no more processes or threads"),
        ("OSError(24, 'Too many open files')", "no more files can be opened"),
        ("OSError(28, 'No space left on device')", "the disk is full"),
    ],
)
def test_what_the_system_has_too_little_of_is_one_sentence(
    fault: str, sentence: str, tmp_path: Path
) -> None:
    write_model(tmp_path, f"raise {fault}")
    with started(tmp_path, *SERVE) as process:
        _, complaint = process.communicate(timeout=60)
        assert process.returncode == 2
        assert complaint.startswith("duologue: ")
        assert sentence in complaint
        assert complaint.count("\n") == 1


def test_of_two_failures_in_the_start_the_first_is_told_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "gradio.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'gradio'\", name='gradio')"
    )
    write_model(tmp_path, "raise RuntimeError('the model fails, too')")
    with started(tmp_path, *SERVE[:-1]) as process:
        _, complaint = process.communicate(timeout=60)
        assert process.returncode == 2
        assert complaint.startswith("duologue: the page needs the package 'gradio'")
        assert complaint.count("\n") == 1


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / "question.wav"
    soundfile.write(path, [0.1, -0.1] * 8000, 16_000)
    return path
