from hypothesis import given
from hypothesis import strategies as st

from duologue.models.mini_omni.captions import Captions


def test_words_come_no_faster_than_they_are_spoken() -> None:
    captions = Captions()
    captions.write("one two three four five six seven eight nine ten eleven twelve")
    first = captions.take(1.0)
    assert first == "one two three four five six"  # 27 characters: a second, and a few ahead
    assert captions.take(1.0) == " seven eight"
    assert captions.take(0.1, last=True) == " nine ten eleven twelve"


def test_what_is_written_slowly_comes_at_once() -> None:
    captions = Captions()
    captions.write("a")
    assert captions.take(1.0) == "a"
    captions.write(" b")
    assert captions.take(0.0) == " b"


@given(st.lists(st.tuples(st.text("ab ", max_size=30), st.floats(0, 2)), max_size=20))
def test_nothing_is_lost_or_said_twice(writes: list[tuple[str, float]]) -> None:
    captions, shown = Captions(), ""
    for text, seconds in writes:
        captions.write(text)
        shown += captions.take(seconds)
    assert shown + captions.take(0, last=True) == "".join(text for text, _ in writes)
