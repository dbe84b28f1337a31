"""`Range` headers of nonsense."""

import pytest

from attacks.doors import ask, cookie_of
from conftest import Serve
from duologue.audio import INPUT_RATE
from duologue.conversation.items import Item
from duologue.testing import tone


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ("bytes=" + "9" * 5000 + "-", 200),
        ("bytes=0-" + "9" * 5000, 200),
        ("bytes=999999999999999-", 416),
        ("bytes=0-999999999999999", 206),
        ("bytes=٣-", 200),
        ("bytes=-5", 200),
        ("bytes=5-2", 416),
        ("bytes=0-1,3-4", 200),
        ("lines=0-1", 200),
    ],
)
def test_no_range_breaks_a_recording(
    serve: Serve, caplog: pytest.LogCaptureFixture, wanted: str, status: int
) -> None:
    server = serve()
    server._server.history.conversation("ann", "c").save(
        Item("item_ut1", sound=tone(1, INPUT_RATE))
    )
    header = wanted.encode().decode("latin-1")
    path, cookie = "/v1/recordings/t1.wav", cookie_of(server, "ann")
    assert ask(server, "GET", path, cookie=cookie, range=header)[0] == status
    assert "Traceback" not in caplog.text
