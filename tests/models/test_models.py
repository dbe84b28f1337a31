"""Models by name, and a turn that is cut to what was heard."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.conversation.items import Item
from duologue.errors import ModelUnavailable
from duologue.models import load_model
from duologue.testing import say


def reply(*chunks: tuple[str, float]) -> Item:
    spoken = [say(text, seconds) for text, seconds in chunks]
    return Item("a", "assistant", spoken=spoken, status="completed")


def test_a_model_is_loaded_by_its_short_name() -> None:
    assert load_model("echo").capabilities.note.startswith("Echo")


def test_an_unknown_model_gets_a_sentence() -> None:
    with pytest.raises(ModelUnavailable, match="no model named 'nobody'; there are cascade, echo"):
        load_model("nobody")


def test_anybodys_module_is_a_model_by_its_dotted_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "parrots").mkdir()
    (tmp_path / "parrots/polly.py").write_text("from duologue.models.echo import load\n")
    (tmp_path / "parrots/mute.py").write_text("")
    (tmp_path / "parrots/needy.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_model("parrots.polly").capabilities.note.startswith("Echo")
    with pytest.raises(ModelUnavailable, match=r"defines no load\(\)"):
        load_model("parrots.mute")
    with pytest.raises(ModelUnavailable, match="needs the package 'a_package_that_is_not_there'"):
        load_model("parrots.needy")
    with pytest.raises(ModelUnavailable, match="does not take these options"):
        load_model("parrots.polly", colour="green")


def test_a_reply_heard_to_its_end_stays_as_it_is() -> None:
    whole = reply(("Hello. ", 1), ("How are you?", 2))
    whole.truncate(3.0)
    assert (whole.said, whole.status) == ("Hello. How are you?", "completed")


def test_a_reply_nobody_heard_is_empty() -> None:
    cut = reply(("Hello.", 1))
    cut.truncate(0)
    assert (cut.said, cut.seconds, cut.status) == ("", 0, "interrupted")


@given(
    st.lists(st.tuples(st.sampled_from(["a b ", "c ", "d e f "]), st.floats(0.1, 3))),
    st.floats(0, 9),
)
def test_what_is_left_was_heard_and_is_a_beginning(
    chunks: list[tuple[str, float]], heard: float
) -> None:
    whole, cut = reply(*chunks), reply(*chunks)
    cut.truncate(heard)
    assert cut.seconds == pytest.approx(min(heard, whole.seconds), abs=1e-3)
    assert whole.said.startswith(cut.said)
