"""The clients of npm, as they are, talk with the default model: `make check` installs them."""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from conftest import Serve, serving
from duologue.audio import REPLY_RATE, AudioChunk, silence
from duologue.ears.vad import Silero
from duologue.server.app import Uvicorn
from duologue.server.config import load_config
from models.cascade.rig import needs_weights
from transports.realtime.tool_server import Caller, Tools

pytest.importorskip("ctranslate2")

SCRIPTS = Path(__file__).with_name("node")
MODULES = Path(__file__).parents[3] / ".venv" / "npm" / "node_modules"

pytestmark = [
    needs_weights,
    pytest.mark.skipif(not shutil.which("node"), reason="needs node"),
    pytest.mark.skipif(not MODULES.is_dir(), reason="needs the clients of npm; run: make check"),
]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Uvicorn]:
    """The default model over TLS: `openai` of npm speaks nothing else."""
    folder = tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("127.0.0.1", "localhost")
    cert, key = folder / "cert.pem", folder / "key.pem"
    for blob in issued.cert_chain_pems:
        blob.write_to_path(cert, append=True)
    issued.private_key_pem.write_to_path(key)
    files = {"tls_cert": str(cert), "tls_key": str(key)}
    config = load_config({"model": "cascade", "port": 0, "page": False, **files}, environ={})
    with serving(config, vad=Silero().stream) as server:
        yield server


@pytest.fixture
def sound(questions: list[AudioChunk], tmp_path: Path) -> Path:
    file = tmp_path / "question.pcm"
    spoken = questions[0].at(REPLY_RATE)
    file.write_bytes(spoken.pcm16() + silence(0.3, REPLY_RATE).pcm16())
    return file


async def run(script: str, *arguments: str, authority: trustme.CA, folder: Path) -> dict[str, Any]:
    """What a script prints last."""
    work = folder / "node"
    shutil.copytree(SCRIPTS, work)
    (work / "node_modules").symlink_to(MODULES)
    certificate = folder / "authority.pem"
    authority.cert_pem.write_to_path(certificate)
    node = await asyncio.create_subprocess_exec(
        "node",
        script,
        *arguments,
        cwd=work,
        env={**os.environ, "NODE_EXTRA_CA_CERTS": str(certificate)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, complaint = await node.communicate()
    assert node.returncode == 0, (out + complaint).decode()
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    return result


async def test_the_agents_of_npm_hold_a_conversation_without_an_error(
    server: Uvicorn, sound: Path, authority: trustme.CA, tmp_path: Path
) -> None:
    url = server.url.replace("https", "wss") + "/v1/realtime?model=any"
    told = await run("agents.mjs", url, str(sound), authority=authority, folder=tmp_path)
    assert told["errors"] == []
    assert len([words for words in told["user"] if words]) >= 3, told
    assert told["user"][-1] == "Say good morning."
    assert len([words for words in told["assistant"] if words]) >= 2, told
    assert told["interrupted"] >= 1


async def test_the_client_of_npm_pushes_to_talk_and_asks_out_of_band(
    server: Uvicorn, sound: Path, authority: trustme.CA, tmp_path: Path
) -> None:
    told = await run(
        "openai.mjs", f"{server.url}/v1", str(sound), authority=authority, folder=tmp_path
    )
    assert told["errors"] == []
    assert told["words"]
    assert told["sound"]
    spoken, silent = told["responses"]
    assert (spoken["status"], silent["status"]) == ("completed", "completed")
    assert silent["conversation_id"] is None
    assert silent["metadata"]["topic"] == "test"
    assert silent["output"][0]["content"][0]["type"] == "output_text"


async def test_the_agents_of_npm_approve_a_call_of_a_server_of_tools(
    serve: Serve, tools: Tools, authority: trustme.CA, tmp_path: Path
) -> None:
    server = serve(Caller())
    url = server.url.replace("http", "ws") + "/v1/realtime?model=any"
    told = await run("tools.mjs", url, tools.url, authority=authority, folder=tmp_path)
    assert told["errors"] == []
    assert told["known"] == ["add", "fail", "long", "wait"]
    assert (told["asked"], told["called"]) == (["add"], ["5"])
    assert told["said"] == ["It gave 5."]
    assert tools.called == 1
