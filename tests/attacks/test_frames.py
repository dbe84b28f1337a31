"""Headers that keep a browser from being used against its user."""

import pytest

from attacks.doors import ask, doors
from conftest import Serve


@pytest.mark.parametrize("frames", ["", "https://friend.example,https://b.example"])
def test_every_answer_is_no_more_than_it_says_it_is(serve: Serve, frames: str) -> None:
    pytest.importorskip("gradio", reason="the page's packages are not installed")
    page = serve(page=True, **({"allow_frame": frames} if frames else {}))
    for door in doors(page):
        if door.method == "WS":
            continue
        _, response, _ = ask(page, door.method, door.path)
        headers = response.headers
        assert headers["x-content-type-options"] == "nosniff", door
        assert headers["referrer-policy"] == "same-origin", door
        assert headers["x-frame-options"] == (None if frames else "SAMEORIGIN"), door
        assert headers["server"] is None, door
    policy = ask(page, "GET", "/")[1].headers["content-security-policy"]
    assert policy.endswith(" ".join(["; frame-ancestors 'self'", *frames.split(",")]).rstrip())
    assert "default-src 'self'; " in policy
    host = page.url.removeprefix("http://")
    assert f"; connect-src 'self' ws://{host} wss://{host}; " in policy


def test_a_page_that_may_connect_may_not_show_ours_in_a_frame(serve: Serve) -> None:
    _, response, _ = ask(serve(allow_origin="https://friend.example"), "GET", "/health")
    assert response.headers["x-frame-options"] == "SAMEORIGIN"


def test_refusals_carry_them_too(serve: Serve) -> None:
    _, response, _ = ask(serve(), "GET", "/health", host="evil.example")
    assert response.headers["x-content-type-options"] == "nosniff"
