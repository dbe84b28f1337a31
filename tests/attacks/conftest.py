"""A server with its page, for the attacks that need nothing of it but to be there."""

from collections.abc import Iterator

import pytest

from conftest import serving
from duologue.server.app import Uvicorn
from duologue.server.config import load_config


@pytest.fixture(scope="module")
def page() -> Iterator[Uvicorn]:
    pytest.importorskip("gradio", reason="the page's packages are not installed")
    with serving(load_config({"model": "echo", "port": 0}, environ={})) as server:
        yield server
