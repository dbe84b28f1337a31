"""What the README promises: one command in a fresh copy, a page, one click, and a conversation."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from browser.conftest import Open
from duologue.audio import AudioChunk

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.asyncio(loop_scope="session")


@contextmanager
def make_run(folder: Path) -> Iterator[str]:
    """`make run` there, on a port of its own; gives the page's address."""
    environment = {name: value for name, value in os.environ.items() if "VIRTUAL_ENV" not in name}
    process = subprocess.Popen(
        ["make", "run", f"PYTHON={sys.executable}", "ARGS=--port 0"],
        cwd=folder,
        env={**environment, "XDG_DATA_HOME": str(folder / "data")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    said = []
    try:
        assert process.stdout
        for line in process.stdout:
            said.append(line)
            if found := re.search(r"http://\S+", line):
                yield found[0]
                break
        else:
            pytest.fail(f"make run ended before it served: {''.join(said)}")
    finally:
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
        process.communicate(timeout=120)


async def test_a_fresh_copy_converses(open_tab: Open, questions: list[AudioChunk]) -> None:
    # Not below `tmp_path`: pytest keeps three of those, and this is 700 MB.
    with TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("Makefile", "README.md", "pyproject.toml"):
            shutil.copy(ROOT / part, folder)
        shutil.copytree(
            ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
        with make_run(folder) as url:
            page = await open_tab(url)
            await page.start()
            times = await page.talk(questions[0])
            await page.stop()
    assert times.heard > 0.3
