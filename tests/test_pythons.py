"""Which Pythons `make pythons` finds."""

import os
from pathlib import Path

import pytest

import pythons


def put_python(folder: Path, name: str, answer: str) -> None:
    """A Python that says no more than its version; or a stand-in that has none."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{answer}\n")
    path.chmod(0o755)


@pytest.mark.skipif(os.name == "nt", reason="the Pythons of this test are shell scripts")
def test_the_newest_of_each_version_is_found_in_the_version_manager_and_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager, path = tmp_path / "manager", tmp_path / "bin"
    put_python(manager / "versions/3.12.1/bin", "python3.12", "echo 3 12 1")
    put_python(manager / "versions/3.12.10/bin", "python3.12", "echo 3 12 10")
    put_python(manager / "versions/3.8.18/bin", "python3.8", "echo 3 8 18")
    put_python(path, "python3.12", "echo 3 12 2")
    put_python(path, "python3.14", "echo 3 14 0")
    put_python(path, "python3.14-config", "echo 3 14 0")
    put_python(path, "python3.13", "echo not installed >&2; exit 127")
    monkeypatch.setenv("PYENV_ROOT", str(manager))
    monkeypatch.setenv("PATH", f"{path}{os.pathsep}/usr/bin{os.pathsep}/bin{os.pathsep}/no/folder")
    found = pythons._pythons()
    assert found["3.12"] == str(manager / "versions/3.12.10/bin/python3.12")
    assert found["3.14"] == str(path / "python3.14")
    assert "3.8" not in found
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "none"))
    assert pythons._pythons()["3.12"] == str(path / "python3.12")


def test_every_file_of_tests_that_it_runs_is_there() -> None:
    folder = Path(pythons.__file__).parent
    names = [*pythons._TESTS.split(), *pythons._NOT]
    assert [name for name in names if not (folder / name).exists()] == []
