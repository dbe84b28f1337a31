"""Nobody outside this machine hears of it: every connection of every model is watched.

What the packages do at import, at the start and in a conversation, with `CI` unset (under which
some keep quiet) and a home that was never used before.
"""

import asyncio
import importlib.util
import ipaddress
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from duologue import weights
from duologue.cli.say import ask
from duologue.testing import tone

WATCH = """
import os, sys

def keep(line):
    file = os.open(os.environ["WATCHED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, f"{line}\\n".encode())
    os.close(file)

def watch(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        place = address[0] if isinstance(address, tuple) else "unix"
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        place = arguments[0]
    else:
        return
    if isinstance(place, bytes):
        place = place.decode()
    keep(f"{event} {place or 'localhost'}")

keep("started localhost")
sys.addaudithook(watch)
"""


def is_local(place: str) -> bool:
    if place in ("localhost", "unix"):
        return True
    try:
        return ipaddress.ip_address(place).is_loopback
    except ValueError:
        return False


def traced(strace: Path) -> list[str]:
    """The addresses of the system calls, which no runtime in C++ gets past."""
    if not strace.exists():
        return []
    address = re.compile(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"')
    return [v4 or v6 for v4, v6 in address.findall(strace.read_text())]


def can_trace(folder: Path) -> bool:
    if not shutil.which("strace"):
        return False
    trial = ["strace", "-o", str(folder / "trial"), "true"]
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0


def cache(request: pytest.FixtureRequest, folder: Path, model: str) -> None:
    """Put the weights that a model needs into a cache folder."""
    needed = ["silero-vad", "smart-turn"]
    if model == "cascade":
        needed = [name for name, row in weights.WEIGHTS.items() if row.by_default]
    folder.mkdir()
    for name in needed:
        file = weights.cache_folder() / weights.WEIGHTS[name].file_name
        if not file.exists():
            pytest.skip(f"needs the weights; run: duologue pull {name}")
        (folder / file.name).symlink_to(file)
    if model == "mini-omni":
        tiny = request.getfixturevalue("mini_omni_cache") / "mini-omni-random"
        shutil.copytree(tiny, folder / tiny.name)


@pytest.mark.parametrize(
    ("model", "options", "package"),
    [
        ("echo", "", "onnxruntime"),
        ("cascade", "", "xllamacpp"),
        ("mini-omni", "device=cpu,max_reply=1", "openvino"),
        ("mini-omni", "device=cpu,max_reply=1,precision=fp32", "torch"),
    ],
    ids=["echo", "cascade", "mini-omni", "mini-omni in torch"],
)
def test_no_model_connects_to_anything_but_this_machine(
    request: pytest.FixtureRequest, tmp_path: Path, model: str, options: str, package: str
) -> None:
    for needed in (package, "gradio"):
        if importlib.util.find_spec(needed) is None:  # importing it here might send something
            pytest.skip(f"needs the package {needed}")
    cache(request, tmp_path / "cache", model)
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch/sitecustomize.py").write_text(WATCH)
    home, watched, strace = tmp_path / "home", tmp_path / "watched", tmp_path / "strace"
    home.mkdir()
    trace = ["strace", "-D", "-f", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o", str(strace)]
    command = [sys.executable, "-m", "duologue", "serve", "--model", model, "--port", "0"]
    command += ["--model-options", options] if options else []
    foreign = ("CI", "TF_BUILD", "JENKINS_", "DUOLOGUE_", "XDG_", "ORT_", "HF_")
    mine = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    process = subprocess.Popen(
        [*trace, *command] if can_trace(tmp_path) else command,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={
            **mine,
            "HOME": str(home),
            "TMPDIR": str(tmp_path),
            "WATCHED": str(watched),
            "DUOLOGUE_CACHE": str(tmp_path / "cache"),
            "PYTHONPATH": os.pathsep.join([str(tmp_path / "watch"), *sys.path]),
        },
    )
    try:
        assert process.stdout
        said = process.stdout.readline()
        url = re.search(r"http://\S+", said)
        assert url, said
        answer = asyncio.run(ask(url[0], tone(1.0)))
        assert answer.audio.duration
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    seen = [line.rpartition(" ") for line in watched.read_text().splitlines()]
    assert [f"{event} {place}" for event, _, place in seen if not is_local(place)] == []
    assert [place for place in traced(strace) if not is_local(place)] == []
    assert {path.name for path in home.iterdir()} <= {".cache", ".config", ".local"}
