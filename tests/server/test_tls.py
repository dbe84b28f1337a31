"""https and wss by a certificate of one's own: some clients speak nothing else."""

import asyncio
import json
import ssl
from pathlib import Path

import pytest
import trustme
from websockets.asyncio.client import connect

from conftest import Serve
from duologue.audio import silence
from duologue.errors import InvalidSetting
from duologue.models.echo import Echo
from duologue.server.app import running
from duologue.server.config import load_config
from duologue.testing import LoudnessVad, tone
from transports.realtime.messages import append


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(authority: trustme.CA, tmp_path: Path) -> dict[str, str]:
    """A certificate for this computer, and its key."""
    issued = authority.issue_cert("127.0.0.1", "localhost")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    for blob in issued.cert_chain_pems:
        blob.write_to_path(cert, append=True)
    issued.private_key_pem.write_to_path(key)
    return {"tls_cert": str(cert), "tls_key": str(key)}


async def test_a_conversation_is_held_over_wss(
    serve: Serve, authority: trustme.CA, files: dict[str, str]
) -> None:
    server = serve(**files)
    assert server.url.startswith("https://127.0.0.1:")
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    url = server.url.replace("https", "wss") + "/v1/realtime"
    async with asyncio.timeout(60), connect(url, ssl=trusted, max_size=None) as socket:
        await socket.send(append(tone(1, 24_000)))
        await socket.send(append(silence(1.2, 24_000)))
        kinds = []
        while "response.done" not in kinds:
            kinds.append(json.loads(await socket.recv())["type"])
        assert "response.output_audio.delta" in kinds


async def test_what_is_no_certificate_gets_a_sentence(
    files: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(InvalidSetting, match="tls_cert and tls_key go together"):
        load_config({"tls_cert": files["tls_cert"]}, environ={})
    (tmp_path / "no.pem").write_text("no certificate")
    for wrong in (str(tmp_path / "no.pem"), str(tmp_path / "nowhere.pem"), files["tls_key"]):
        config = load_config({**files, "tls_cert": wrong, "port": 0, "page": False}, environ={})
        with pytest.raises(InvalidSetting, match="cannot be used"):
            async with running(config, Echo(), LoudnessVad):
                pass
