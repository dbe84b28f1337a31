"""Behind a proxy: nothing asks it for our own server, and all else does."""

import os
import re
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import soundfile

from duologue.cli.say import _is_near
from duologue.testing import tone


class Proxy:
    """Counts who comes, and lets nobody through."""

    def __init__(self) -> None:
        self.came: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            client, _ = self._listener.accept()
            with client:
                client.settimeout(10)
                if (request := client.recv(1000)) == b"end":
                    return
                self.came.append(request)
                client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    def close(self) -> None:
        host, _, port = self.address.partition(":")
        with socket.create_connection((host, int(port))) as last:
            last.sendall(b"end")
        self._thread.join()
        self._listener.close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with closing(Proxy()) as recorder:
        yield recorder


@pytest.fixture
def question(tmp_path: Path) -> str:
    path = tmp_path / "question.wav"
    soundfile.write(path, tone(1.0, 16_000).samples, 16_000)
    return str(path)


def environment(**proxies: str) -> dict[str, str]:
    """This one, with these proxies and no others, and without exceptions."""
    kept = {name: value for name, value in os.environ.items() if "_proxy" not in name.lower()}
    return {**kept, **proxies}


def duologue(*arguments: str, **proxies: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "duologue", *arguments],
        env=environment(**proxies),
        capture_output=True,
        text=True,
        timeout=120,
    )


KINDS = {
    "http": {"http_proxy": "http://", "HTTPS_PROXY": "http://", "ALL_PROXY": "http://"},
    "socks": {"ALL_PROXY": "socks5://"},
    "socks with names": {"all_proxy": "socks5h://", "http_proxy": "socks5h://"},
    "nonsense": {"ALL_PROXY": "nonsense://"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_say_asks_no_proxy_for_a_server_of_its_own(kind: str, question: str, proxy: Proxy) -> None:
    proxies = {name: scheme + proxy.address for name, scheme in KINDS[kind].items()}
    done = duologue("say", question, "--model", "echo", **proxies)
    assert done.returncode == 0, done.stderr
    assert "first sound of the reply" in done.stdout
    assert proxy.came == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_cascade_asks_no_proxy_for_its_language_model(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xllamacpp")
    from duologue.models.cascade.language import LanguageModel

    for name, scheme in KINDS[kind].items():
        monkeypatch.setenv(name, f"{scheme}127.0.0.1:9")
    # A client that looked at the environment could not be made where that names nonsense.
    assert not LanguageModel(Path("weights"))._client._client._trust_env


def test_say_asks_the_proxy_for_a_far_server(question: str, proxy: Proxy) -> None:
    far = ("say", question, "--url", "http://duologue.example:7860")
    done = duologue(*far, http_proxy=f"http://{proxy.address}")
    assert proxy.came[0].startswith(b"CONNECT duologue.example:7860 ")
    assert done.returncode == 2
    assert re.match("duologue: the proxy that the environment names does not lead to", done.stderr)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("scheme", ["socks5", "nonsense"])
def test_a_proxy_that_cannot_be_used_gets_a_sentence(
    scheme: str, question: str, proxy: Proxy
) -> None:
    far = ("say", question, "--url", "http://duologue.example:7860")
    done = duologue(*far, ALL_PROXY=f"{scheme}://{proxy.address}")
    assert done.returncode == 2
    assert done.stderr.startswith("duologue: ")
    assert done.stderr.count("\n") == 1


def test_a_page_that_cannot_be_loaded_for_a_proxy_gets_a_sentence() -> None:
    pytest.importorskip("gradio")
    done = duologue("serve", "--model", "echo", "--port", "0", http_proxy="::")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("duologue: the page cannot be loaded: ")
    assert "Traceback" not in done.stderr


def test_the_page_is_served_behind_a_socks_proxy(proxy: Proxy) -> None:
    pytest.importorskip("gradio")
    with subprocess.Popen(
        [sys.executable, "-m", "duologue", "serve", "--model", "echo", "--port", "0"],
        env=environment(ALL_PROXY=f"socks5://{proxy.address}"),
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stdout
            url = re.search(r"http://\S+", server.stdout.readline())
            assert url
            direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with direct.open(url[0]) as page:
                assert "Duologue" in page.read().decode()
        finally:
            server.terminate()
            server.communicate(timeout=60)
    assert proxy.came == []


def test_a_proxy_that_keeps_the_page_from_loading_gets_a_sentence() -> None:
    pytest.importorskip("gradio")
    done = duologue("serve", "--model", "echo", "--port", "0", ALL_PROXY="socks4://127.0.0.1:9")
    assert done.returncode == 2
    assert done.stderr.startswith("duologue: the page cannot be loaded: Unknown scheme for proxy")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("host", "near"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("[::1]", True),
        ("192.168.1.7", True),
        ("[fe80::1]", True),
        ("studio", True),
        ("studio.local", True),
        ("duologue.example", False),
        ("8.8.8.8", False),
    ],
)
def test_what_is_near(host: str, near: bool) -> None:
    assert _is_near(f"http://{host}:7860") is near
