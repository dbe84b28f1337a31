"""Tests that need ../shared: chosen by their mark, skipped by it, and by nothing else."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

def test_asks(shared): assert shared.is_dir()

@pytest.fixture
def sound(shared): return shared

def test_asks_by_another_fixture(sound): pass

@pytest.mark.shared
def test_is_marked(): pass

def test_needs_nothing(): pass
"""

UNMARKED = """
def test_skips_by_itself(): pytest.skip("../shared is not here")
"""


def run(clone: Path, tests: str, *how: str) -> str:
    """The last line that pytest says of a clone with these tests."""
    folder = clone / "tests"
    folder.mkdir(exist_ok=True)
    shutil.copy(Path(__file__).with_name("conftest.py"), folder)
    (folder / "test_it.py").write_text(tests)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *how, str(folder)]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()[-1].split(" in ")[0]


@pytest.mark.parametrize("here", [False, True])
def test_the_mark_chooses_all_that_need_it_and_skips_them_where_it_is_not(
    tmp_path: Path, here: bool
) -> None:
    clone = tmp_path / "clone"
    clone.mkdir()
    if here:
        (tmp_path / "shared").mkdir()
    marked = "3 passed" if here else "3 skipped"
    assert run(clone, TESTS, "-m", "shared") == f"{marked}, 1 deselected"
    assert run(clone, TESTS) == ("4 passed" if here else "1 passed, 3 skipped")


def test_a_test_that_is_skipped_without_the_mark_fails(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    clone.mkdir()
    assert run(clone, TESTS + UNMARKED) == "1 failed, 1 passed, 3 skipped"
