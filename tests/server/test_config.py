"""Defaults, the file, the environment, the flags."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from duologue.errors import InvalidSetting
from duologue.server.config import Config, load_config


def test_without_anything_the_defaults_hold() -> None:
    assert load_config({}, environ={}) == Config()


def test_flags_go_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "d.toml"
    file.write_text('port = 1\nhost = "h"\nsilence = 1\n[model_options]\nvoice = "en"\n')
    environ = {"DUOLOGUE_PORT": "2", "DUOLOGUE_HOST": "i", "DUOLOGUE_BARGE_IN": "false"}
    config = load_config({"port": 3, "model": None}, file, environ)
    assert (config.port, config.host, config.silence) == (3, "i", 1.0)
    assert config.barge_in is False
    assert config.model_options == {"voice": "en"}


def test_texts_are_read_as_what_they_stand_for() -> None:
    environ = {
        "DUOLOGUE_ALLOW_ORIGIN": "https://a,https://b",
        "DUOLOGUE_ALLOW_HOST": "voice.example.com, pc.lan",
        "DUOLOGUE_MODEL_OPTIONS": "voice=en,speed=2",
        "DUOLOGUE_CACHE": "/somewhere",
    }
    config = load_config({}, environ=environ)
    assert config.allow_origin == ("https://a", "https://b")
    assert config.allow_host == ("voice.example.com", "pc.lan")
    assert config.model_options == {"voice": "en", "speed": "2"}


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"prot": 1}, "no setting 'prot'; did you mean port"),
        ({"zzz": 1}, "known are model, "),
        ({"port": "many"}, "port is 'many': input should be a valid integer"),
        ({"port": 70_000}, "port goes from 0 to 65535, not 70000"),
        ({"silence": "0"}, "silence goes from 0.1 to 10, not 0"),
        ({"log_level": "loud"}, "log_level is 'loud'"),
        ({"allow_origin": "friend.example"}, "allow_origin takes https://host .* 'friend.example'"),
        ({"allow_frame": "https://a/b"}, "allow_frame takes https://host "),
        ({"allow_host": "https://a"}, "allow_host takes a name, .* not 'https://a'"),
        ({"barge_in": "perhaps"}, "barge_in is 'perhaps'"),
        ({"chats": 0}, "chats goes from 1 to 10000, not 0"),
        ({"api_key": "schlüssel"}, "api_key has characters that no HTTP header carries"),
        ({"api_key": "two words"}, "api_key has characters that no HTTP header carries"),
        ({"speed": 3}, "speed goes from 0.5 to 2, not 3"),
        ({"language": "English"}, "language is a code of ISO 639 such as en"),
    ],
)
def test_what_is_wrong_gets_a_sentence(flags: dict[str, object], sentence: str) -> None:
    with pytest.raises(InvalidSetting, match=sentence):
        load_config(flags, environ={})


def test_a_key_is_never_shown() -> None:
    config = load_config({}, environ={"DUOLOGUE_API_KEY": "sesame"})
    assert config.api_key == "sesame"
    assert "sesame" not in repr(config)
    with pytest.raises(InvalidSetting) as refused:
        load_config({"api_key": 4711})
    assert "4711" not in str(refused.value)


def test_the_parts_of_the_chain_are_what_was_chosen_for_them() -> None:
    assert load_config({}, environ={}).parts == {}
    config = load_config({"stt": "whisper-base", "voice": "en-gb", "speed": 1.2}, environ={})
    assert config.parts == {"stt": "whisper-base", "voice": "en-gb", "speed": "1.2"}


def test_the_figures_of_turns_lie_where_data_says_or_with_the_user_s_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = load_config({}, environ={"DUOLOGUE_DATA": str(tmp_path)})
    assert chosen.turn_log == tmp_path / "turns.sqlite3"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Config(data="~/figures").turn_log == tmp_path / "figures/turns.sqlite3"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    assert Config().turn_log == tmp_path / "share/duologue/turns.sqlite3"
    for relative in ("share", ""):
        monkeypatch.setenv("XDG_DATA_HOME", relative)
        assert Config().turn_log == tmp_path / ".local/share/duologue/turns.sqlite3"


def test_a_file_may_begin_with_the_mark_that_windows_editors_write(tmp_path: Path) -> None:
    (tmp_path / "d.toml").write_bytes(b'\xef\xbb\xbfhost = "sch\xc3\xb6n"\r\n')
    assert load_config({}, tmp_path / "d.toml", {}).host == "schön"


def test_a_file_that_is_no_utf_8_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "d.toml").write_bytes('host = "schön"\n'.encode("utf-16"))
    with pytest.raises(InvalidSetting, match="not valid TOML: it is no UTF-8"):
        load_config({}, tmp_path / "d.toml", {})


def test_every_setting_has_its_help() -> None:
    for setting in fields(Config):
        assert re.fullmatch(r".{10,200}\.", setting.metadata["help"]) or setting.name == "port"


def test_a_file_that_cannot_be_read_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="cannot be read"):
        load_config({}, tmp_path / "none.toml", {})
    (tmp_path / "bad.toml").write_text("port =")
    with pytest.raises(InvalidSetting, match="not valid TOML"):
        load_config({}, tmp_path / "bad.toml", {})
