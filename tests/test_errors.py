import pytest

from duologue.errors import quoted


@pytest.mark.parametrize(
    "value", ["x" * 15_000_000, b"\x00" * 1000, {"type": "x" * 1000}, [1] * 99]
)
def test_what_an_error_repeats_is_cut_to_a_hundred_characters(value: object) -> None:
    assert len(quoted(value)) == 100
    assert quoted(value).endswith("…")


def test_what_is_short_is_repeated_whole() -> None:
    assert quoted("session.upate") == "'session.upate'"
