from collections.abc import Iterator
from contextlib import closing

import pytest

from transports.realtime.tool_server import Tools


@pytest.fixture
def tools() -> Iterator[Tools]:
    with closing(Tools()) as server:
        yield server
