"""Below a path of a reverse proxy, without a page."""

from collections.abc import Mapping

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from duologue.errors import InvalidSetting
from duologue.server.config import Config
from duologue.transports.subpath import SubPath


async def _tell(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(request.url))


def _get(
    path: str, root_path: str = "", headers: Mapping[str, str] | None = None, peer: str = "10.0.0.1"
) -> tuple[int, str]:
    app = Starlette(routes=[Mount("/inner", routes=[Route("/here", _tell)])])
    below = SubPath(app, proxies="10.0.0.1", root_path=root_path)
    client = TestClient(below, "http://host", client=(peer, 1))
    answer = client.get(path, headers=headers)
    return answer.status_code, answer.text


@pytest.mark.parametrize("path", ["/inner/here", "/duologue/inner/here"])
def test_a_path_that_was_cut_off_and_one_that_was_passed_on_are_the_same(path: str) -> None:
    assert _get(path, "/duologue") == (200, "http://host/duologue/inner/here")


def test_a_believed_proxy_names_the_path() -> None:
    header = {"X-Forwarded-Prefix": "/duologue/"}
    assert _get("/inner/here", headers=header) == (200, "http://host/duologue/inner/here")
    assert _get("/inner/here", headers=header, peer="10.0.0.2")[1] == "http://host/inner/here"


def test_a_setting_goes_before_what_a_proxy_says() -> None:
    assert _get("/inner/here", "/a", {"X-Forwarded-Prefix": "/b"})[1] == "http://host/a/inner/here"


@pytest.mark.parametrize("odd", ["duologue", "/duologue/", "//x", "/a b", "/a?b", "https://h/a"])
def test_what_is_no_path_is_refused_as_a_setting_and_ignored_as_a_header(odd: str) -> None:
    with pytest.raises(InvalidSetting, match="root_path is a path such as /duologue"):
        Config(root_path=odd)
    if odd != "/duologue/":
        header = {"X-Forwarded-Prefix": odd}
        assert _get("/inner/here", headers=header)[1] == "http://host/inner/here"
