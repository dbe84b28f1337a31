"""Where a server can be talked with."""

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from duologue.system import addresses


class Listener:
    """A socket, as far as it is asked where it listens."""

    def __init__(self, host: str) -> None:
        self._name = (host, 7860, 0, 0) if ":" in host else (host, 7860)

    def getsockname(self) -> tuple[object, ...]:
        return self._name


@pytest.fixture(autouse=True)
def _network(monkeypatch: pytest.MonkeyPatch) -> None:
    own = ["192.168.1.7", "2001:db8::7"]
    monkeypatch.setattr(addresses, "_own_addresses", lambda both: own[: 1 + both])


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:7860"),
        ("::1", "http://[::1]:7860"),
        ("0.0.0.0", "http://localhost:7860"),
        ("::", "http://localhost:7860"),
        ("192.168.1.7", "http://192.168.1.7:7860"),
    ],
)
def test_the_address_that_is_printed_works_on_this_computer(host: str, url: str) -> None:
    assert addresses.url_of(Listener(host)) == url  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1"])
def test_of_this_computer_alone_there_is_nothing_to_say(host: str) -> None:
    assert addresses.microphone_hint(Listener(host)) == ""  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "2001:db8::7"])
def test_where_others_reach_it_what_the_microphone_needs_is_said(host: str) -> None:
    said = addresses.microphone_hint(Listener(host))  # type: ignore[arg-type]
    assert "Browsers give the microphone only to pages on localhost or https" in said
    assert "ssh -N -L 7860:" in said
    assert "http://localhost:7860" in said
    assert "http://0.0.0.0" not in said
    if host in ("0.0.0.0", "::"):
        assert "http://192.168.1.7:7860" in said
    assert ("http://[2001:db8::7]:7860" in said) is (host == "::")


def test_a_computer_without_a_network_is_named_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(addresses, "_own_addresses", lambda both: [])
    said = addresses.microphone_hint(Listener("0.0.0.0"))  # type: ignore[arg-type]
    assert "reach it on the addresses of this computer" in said


@contextmanager
def served(*flags: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "duologue", "serve", "--model", "echo", "--port", "0"]
    with subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def test_a_server_for_everybody_prints_what_works() -> None:
    with served("--host", "0.0.0.0", "--no-page") as process:
        assert process.stdout
        first = process.stdout.readline()
        found = re.fullmatch(
            r"Duologue: the line is on http://localhost:(\d+) \(Ctrl-C ends it\)\n", first
        )
        assert found, first
        said = process.stdout.readline() + process.stdout.readline()
        assert "Browsers give the microphone only" in said
        with socket.create_connection(("localhost", int(found[1]))):
            pass
