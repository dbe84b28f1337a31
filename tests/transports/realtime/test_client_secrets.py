"""Keys for pages: given out to who has the server's own, good for a while, bound to a session."""

import json
import time
from typing import Any

import httpx2
import pytest
from openai import AsyncOpenAI
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from conftest import Serve
from duologue.errors import InvalidApiKey, TooManyReplies
from duologue.server.app import Uvicorn
from duologue.testing import ScriptedModel, say
from duologue.transports.realtime import client_secrets
from duologue.transports.realtime.client_secrets import ClientSecrets

KEY = {"Authorization": "Bearer the-key"}


async def post(server: Uvicorn, path: str, body: Any = None, **headers: str) -> httpx2.Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with httpx2.AsyncClient(trust_env=False) as http:
        return await http.post(f"{server.url}/v1/realtime/{path}", content=data, headers=headers)


async def test_the_official_client_makes_one_and_a_page_begins_its_session(serve: Serve) -> None:
    server = serve(ScriptedModel([say("Yes.")]), api_key="the-key")
    openai = AsyncOpenAI(api_key="the-key", base_url=f"{server.url}/v1")
    async with openai:
        made = await openai.realtime.client_secrets.create(
            session={"type": "realtime", "instructions": "Be kind."},
            expires_after={"anchor": "created_at", "seconds": 60},
        )
    assert 50 < made.expires_at - time.time() <= 60
    assert made.session.type == "realtime"
    url = server.url.replace("http", "ws") + "/v1/realtime"
    offered = [Subprotocol("realtime"), Subprotocol(f"openai-insecure-api-key.{made.value}")]
    for _ in range(2):
        async with connect(url, subprotocols=offered, proxy=None) as socket:
            first = json.loads(await socket.recv())
            assert first["type"] == "session.created"
            assert first["session"]["instructions"] == "Be kind."
    with pytest.raises(InvalidStatus, match="401"):
        async with connect(url, proxy=None):
            pass


async def test_a_refusal_is_no_fault_of_the_server(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(ScriptedModel(), api_key="the-key")
    url = server.url.replace("http", "ws") + "/v1/realtime"
    for _ in range(2):
        with pytest.raises(InvalidStatus, match="401"):
            async with connect(url, proxy=None):
                pass
    async with connect(url, additional_headers=KEY, proxy=None) as socket:
        assert json.loads(await socket.recv())["type"] == "session.created"
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_one_that_has_expired_is_refused_with_a_sentence(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(ScriptedModel())
    made = (await post(server, "client_secrets", {"expires_after": {"seconds": 10}})).json()
    later = time.time() + 11
    monkeypatch.setattr("duologue.transports.realtime.client_secrets.time.time", lambda: later)
    url = server.url.replace("http", "ws") + "/v1/realtime"
    with pytest.raises(InvalidStatus) as refused:
        async with connect(
            url, additional_headers={"Authorization": f"Bearer {made['value']}"}, proxy=None
        ):
            pass
    assert refused.value.response.status_code == 401
    assert b"this client secret has expired" in (refused.value.response.body or b"")


@pytest.mark.parametrize(
    ("body", "sentence", "param"),
    [
        (b"{", "the body is no JSON", None),
        ([], "not a JSON list", None),
        ({"session": 1}, "session is a JSON object", "session"),
        ({"session": {"type": "coffee"}}, "session.update: type", None),
        ({"session": {"type": "realtime", "tools": 1}}, "session.tools is a list", "session.tools"),
        ({"expires_after": {"anchor": "never"}}, "expires_after is as", "expires_after"),
        ({"expires_after": {"seconds": 9}}, "10 to 7200 seconds, not 9", "expires_after.seconds"),
        ({"expires_after": {"seconds": True}}, "not True", "expires_after.seconds"),
    ],
)
async def test_what_is_no_request_is_told(
    serve: Serve, body: Any, sentence: str, param: str | None
) -> None:
    server = serve(ScriptedModel())
    answer = await post(server, "client_secrets", body)
    assert answer.status_code == 400
    assert sentence in answer.json()["error"]["message"]
    assert answer.json()["error"]["param"] == param


async def test_nobody_gets_one_without_the_key(serve: Serve) -> None:
    server = serve(ScriptedModel(), api_key="the-key")
    assert (await post(server, "client_secrets", {})).status_code == 401
    made = (await post(server, "client_secrets", {}, **KEY)).json()["value"]
    again = await post(server, "client_secrets", {}, Authorization=f"Bearer {made}")
    assert again.status_code == 401


async def test_there_is_no_webrtc_and_the_answer_names_what_there_is(serve: Serve) -> None:
    server = serve(ScriptedModel())
    answer = await post(server, "calls", b"v=0")
    assert answer.status_code == 501
    assert "connect a WebSocket to /v1/realtime" in answer.json()["error"]["message"]


def test_only_so_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_secrets, "_MOST", 3)
    made = ClientSecrets()
    values = [made.make({"type": "realtime"}, 60)[0] for _ in range(3)]
    with pytest.raises(TooManyReplies, match="3 client secrets are good already"):
        made.make({}, 60)
    assert made.session_of(["none", values[1]]) == {"type": "realtime"}
    assert made.session_of(["none"]) is None
    with pytest.raises(InvalidApiKey, match="never given out here"):
        made.session_of(["ek_guess"])
    later = time.time() + 61
    monkeypatch.setattr("duologue.transports.realtime.client_secrets.time.time", lambda: later)
    made.make({}, 60)
