"""Language models that this computer serves already."""

import asyncio

import pytest

from duologue.models.cascade import nearby
from models.cascade.openai_server import Behaviour, serving_openai


async def offered(monkeypatch: pytest.MonkeyPatch, behaviour: Behaviour) -> list[str]:
    async with serving_openai(behaviour) as address:
        port = int(address.rpartition(":")[2].partition("/")[0])
        monkeypatch.setattr(nearby, "PORTS", {port: "Ollama", 9: "vLLM"})
        return [line.replace(str(port), "PORT") for line in await asyncio.to_thread(nearby.offers)]


async def test_a_server_that_runs_is_offered_with_the_flags_that_take_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await offered(monkeypatch, Behaviour(models=["llama3.2:latest", "qwen3", "a", "b"])) == [
        "Ollama runs here and may think in the built-in chain (llama3.2:latest, qwen3, a …): "
        "duologue serve --llm http://127.0.0.1:PORT/v1 --llm-model llama3.2:latest"
    ]


@pytest.mark.parametrize("how", ["html", "refuse", "no such", "other"])
async def test_something_else_on_that_port_is_not_offered(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    assert await offered(monkeypatch, Behaviour(how=how)) == []


async def test_a_server_without_a_model_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await offered(monkeypatch, Behaviour(models=[])) == []
