"""Language models that this computer serves already: found and offered, not taken."""

import concurrent.futures
import json
from collections.abc import Mapping

import httpx2

PORTS: Mapping[int, str] = {
    11434: "Ollama",
    1234: "LM Studio",
    8080: "llama.cpp",
    8000: "vLLM",
}
"""Where servers with OpenAI's API listen as they come."""

_WITHIN = 0.3  # seconds
_SHOWN = 3  # names of models


def offers() -> list[str]:
    """A sentence for each that answers, with the flags that take it. Takes 0.3 s at most."""
    with concurrent.futures.ThreadPoolExecutor(len(PORTS)) as threads:
        found = threads.map(_models, PORTS)
        return [_offer(port, models) for port, models in zip(PORTS, found, strict=True) if models]


def _offer(port: int, models: list[str]) -> str:
    shown = ", ".join(models[:_SHOWN]) + (" …" if len(models) > _SHOWN else "")
    return (
        f"{PORTS[port]} runs here and may think in the built-in chain ({shown}): "
        f"duologue serve --llm http://127.0.0.1:{port}/v1 --llm-model {models[0]}"
    )


def _models(port: int) -> list[str]:
    """What a server on this port calls its models; none where there is no such server."""
    try:
        # No proxy of the environment between this computer and itself.
        with httpx2.Client(timeout=_WITHIN, trust_env=False) as client:
            found = client.get(f"http://127.0.0.1:{port}/v1/models").json()["data"]
            return [str(entry["id"]) for entry in found if entry.get("owned_by") != "duologue"]
    except (
        httpx2.HTTPError,
        json.JSONDecodeError,
        UnicodeDecodeError,
        KeyError,
        TypeError,
        AttributeError,
    ):
        return []  # nobody, or something else
