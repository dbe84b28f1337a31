import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from duologue.audio import INPUT_RATE, REPLY_RATE, silence
from duologue.conversation import events
from duologue.conversation.events import ClientErred, SettingsChanged
from duologue.conversation.items import Item
from duologue.settings import Settings
from duologue.testing import tone
from duologue.tools import Function, ToolFilter, Tools, ToolServer
from duologue.transports.realtime.decode import decode_event, decode_message
from transports.realtime.messages import BAD, append, message, update


def test_settings_are_merged_field_by_field() -> None:
    before = Settings(threshold=0.7, instructions="Be brief.")
    event = decode_event(update(silence_duration_ms=800, idle_timeout_ms=6000), before)
    assert event == SettingsChanged(
        Settings(
            threshold=0.7,
            instructions="Be brief.",
            patience="fixed",
            silence=0.8,
            idle_timeout=6.0,
        )
    )


@pytest.mark.parametrize(
    ("detection", "patience"),
    [
        ({"eagerness": "low"}, "patient"),
        ({"eagerness": "medium"}, "normal"),
        ({"eagerness": "high"}, "quick"),
        ({"eagerness": "auto"}, "normal"),
        ({}, "normal"),
    ],
)
def test_eagerness_is_the_opposite_of_patience(detection: Any, patience: Any) -> None:
    event = decode_event(update("semantic_vad", **detection), Settings(patience="fixed"))
    assert event == SettingsChanged(Settings(patience=patience))


def test_semantic_vad_takes_the_numbers_of_server_vad_too() -> None:
    numbers = {"threshold": 0.6, "prefix_padding_ms": 100, "idle_timeout_ms": 5000}
    event = decode_event(update("semantic_vad", **numbers), Settings())
    assert event == SettingsChanged(Settings(threshold=0.6, prefix_padding=0.1, idle_timeout=5.0))


def test_no_turn_detection_is_push_to_talk() -> None:
    session = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
    event = decode_event(message("session.update", session=session), Settings())
    assert event == SettingsChanged(Settings(turn_detection=False))


def test_what_means_nothing_here_is_ignored() -> None:
    session = {
        "type": "realtime",
        "tracing": "auto",
        "tools": [],
        "wonder": 7,
        "audio": {
            "input": {"turn_detection": {"type": "semantic_vad", "wonder": 7}},
            "output": {"wonder": 7},
        },
    }
    assert decode_event(message("session.update", session=session), Settings()) == SettingsChanged(
        Settings()
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"audio": {"output": {"voice": "ash"}}}, {"voice": "ash"}),
        ({"audio": {"output": {"voice": {"id": "voice_1"}}}}, {"voice": "voice_1"}),
        ({"audio": {"output": {"voice": "default"}}}, {"voice": ""}),
        ({"audio": {"output": {"voice": None, "speed": None}}, "max_output_tokens": None}, {}),
        ({"audio": {"output": {"speed": 1}}}, {"speed": 1.0}),
        ({"audio": {"output": {"speed": 0.25}}}, {"speed": 0.25}),
        ({"max_output_tokens": 4096}, {"max_output_tokens": 4096}),
        ({"max_output_tokens": "inf"}, {"max_output_tokens": 0}),
    ],
)
def test_how_replies_sound_and_how_long_they_are_is_of_a_session_or_a_response(
    fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    known = Settings(voice="eve", speed=1.5, max_output_tokens=7)
    changed = decode_event(message("session.update", session={"type": "realtime", **fields}), known)
    assert changed == SettingsChanged(replace(known, **expected))
    asked = decode_event(message("response.create", response=fields), known)
    assert asked == events.ReplyRequested(**expected)


@pytest.mark.parametrize(
    ("fields", "param", "sentence"),
    [
        ({"max_output_tokens": 0}, "max_output_tokens", "from 1 to 4096, or 'inf', not 0"),
        ({"max_output_tokens": 4097}, "max_output_tokens", "not 4097"),
        ({"max_output_tokens": 1.5}, "max_output_tokens", "not 1.5"),
        ({"max_output_tokens": True}, "max_output_tokens", "not True"),
        ({"max_output_tokens": "many"}, "max_output_tokens", "not 'many'"),
        ({"audio": {"output": {"speed": 2}}}, "audio.output.speed", "from 0.25 to 1.5, not 2"),
        ({"audio": {"output": {"speed": True}}}, "audio.output.speed", "not True"),
        ({"audio": {"output": {"speed": "fast"}}}, "audio.output.speed", "not 'fast'"),
        ({"audio": {"output": {"speed": float("nan")}}}, "audio.output.speed", "not nan"),
        ({"audio": {"output": {"voice": 3}}}, "audio.output.voice", "is the name of a voice"),
        ({"audio": {"output": {"voice": {"id": 3}}}}, "audio.output.voice", "not {'id': 3}"),
        ({"audio": {"output": {"voice": []}}}, "audio.output.voice", r"not []"),
    ],
)
def test_what_is_no_voice_speed_or_limit_is_refused_by_its_name(
    fields: dict[str, Any], param: str, sentence: str
) -> None:
    for text, where in (
        (message("session.update", session={"type": "realtime", **fields}), "session"),
        (message("response.create", response=fields), "response"),
    ):
        event = decode_event(text, Settings())
        assert isinstance(event, ClientErred)
        assert event.error.param == f"{where}.{param}"
        assert str(event.error).startswith(f"{where}.{param} is ")
        assert sentence in str(event.error)


@pytest.mark.parametrize(("text", "sentence"), BAD)
def test_what_is_no_event_gets_one_sentence(text: str, sentence: str) -> None:
    event = decode_event(text, Settings())
    assert isinstance(event, ClientErred)
    assert sentence in str(event.error)
    assert "\n" not in str(event.error)


def test_what_the_api_has_no_event_for_is_understood() -> None:
    started = message("duologue.playback.started", item_id="item_aabc", ago_ms=40)
    assert decode_event(started, Settings()) == events.PlaybackStarted("item_aabc", 0.04)
    assert decode_event(message("duologue.cut.marked"), Settings()) == events.CutMarked()
    assert decode_event(message("duologue.ping"), Settings()) == events.Pinged()
    sound = base64.b64encode(silence(0.1, REPLY_RATE).pcm16()).decode()
    for echo in (True, False):
        chunk = decode_event(
            message("input_audio_buffer.append", audio=sound, echo=echo), Settings()
        )
        assert isinstance(chunk, events.AudioReceived)
        assert chunk.echo is echo
    plain = decode_event(append(silence(0.1, REPLY_RATE)), Settings())
    assert isinstance(plain, events.AudioReceived)
    assert plain.echo is False


@settings(deadline=None)
@given(st.floats(0, 60_000) | st.integers(0, 60_000))
@example(0)
@example(60_000)
def test_a_report_of_playback_is_taken_whenever_it_comes_within_a_minute(ago: float) -> None:
    report = message("duologue.playback.started", item_id="item_aabc", ago_ms=ago)
    assert decode_event(report, Settings()) == events.PlaybackStarted("item_aabc", ago / 1000)


def test_an_error_names_the_event_that_it_is_about() -> None:
    event = decode_event(message("make.coffee", event_id="evt_7"), Settings())
    assert isinstance(event, ClientErred)
    assert event.event_id == "evt_7"


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
kinds = st.sampled_from(
    [
        "session.update",
        "input_audio_buffer.append",
        "input_audio_buffer.commit",
        "conversation.item.truncate",
        "response.create",
        "duologue.playback.started",
        "duologue.cut.marked",
        "duologue.ping",
    ]
)
detections = st.dictionaries(
    st.sampled_from(
        [
            "kind",
            "eagerness",
            "threshold",
            "prefix_padding_ms",
            "silence_duration_ms",
            "idle_timeout_ms",
            "create_response",
            "interrupt_response",
        ]
    ),
    st.sampled_from(["semantic_vad", "server_vad", "low", "auto", None, True, 10**400])
    | json_values,
)


@settings(deadline=None)
@given(
    st.text()
    | json_values.map(json.dumps)
    | st.builds(
        lambda kind, rest: json.dumps({**rest, "type": kind}),
        kinds,
        st.dictionaries(
            st.sampled_from(
                ["audio", "echo", "session", "item_id", "audio_end_ms", "ago_ms", "response"]
            ),
            json_values,
        ),
    )
    | detections.map(lambda detection: update(**detection))
)
@example('{"audio": "\\u0080", "type": "input_audio_buffer.append"}')
def test_nothing_a_client_sends_breaks_the_decoder(text: str) -> None:
    decode_event(text, Settings())


@pytest.mark.parametrize(
    ("name", "value"),
    [("turn_detection", None), ("input_audio_format", "g711_ulaw"), ("modalities", ["text"])],
)
def test_a_field_of_the_beta_is_refused_by_its_name(name: str, value: Any) -> None:
    refused = decode_event(
        message("session.update", session={"type": "realtime", name: value}), Settings()
    )
    assert isinstance(refused, ClientErred)
    assert refused.error.param == f"session.{name}"


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"type": "audio/pcm"}, "pcm24"),
        ({"type": "audio/pcm", "rate": 24_000}, "pcm24"),
        ({"type": "audio/pcm", "rate": 16_000}, "pcm16"),
        ({"type": "audio/pcmu"}, "pcmu"),
        ({"type": "audio/pcma"}, "pcma"),
    ],
)
def test_each_way_has_a_format_of_its_own(form: dict[str, Any], expected: str) -> None:
    for way, other in (("input", "output"), ("output", "input")):
        session = {"type": "realtime", "audio": {way: {"format": form}}}
        changed = decode_event(message("session.update", session=session), Settings())
        assert isinstance(changed, SettingsChanged)
        ways = {"input": changed.settings.sound_in, "output": changed.settings.sound_out}
        assert (ways[way], ways[other]) == (expected, "pcm24")


def updated(settings: Settings, **session: Any) -> SettingsChanged:
    text = message("session.update", session={"type": "realtime", **session})
    changed = decode_event(text, settings)
    assert isinstance(changed, SettingsChanged), changed
    return changed


SERVER = {"type": "mcp", "server_label": "files", "server_url": "https://example.com/mcp"}


def test_servers_of_tools_stand_beside_functions() -> None:
    look = {"type": "function", "name": "look"}
    tools = updated(Settings(), tools=[SERVER, look]).settings.tools
    assert tools.functions == (Function("look"),)
    assert tools.servers == (ToolServer("files", "https://example.com/mcp"),)
    assert updated(Settings(), tools=[]) == SettingsChanged(Settings())


def test_a_server_of_tools_is_asked_as_its_client_wants() -> None:
    some = {"tool_names": ["read"], "read_only": True}
    full = {
        **SERVER,
        "authorization": "secret",
        "headers": {"x-team": "a b"},
        "server_description": "Files.",
        "allowed_tools": ["read", "write"],
        "require_approval": {"never": some},
    }
    [server] = updated(Settings(), tools=[full]).settings.tools.servers
    assert (server.authorization, server.headers) == ("secret", (("x-team", "a b"),))
    assert server.allowed == ToolFilter(("read", "write"))
    read, write = Function("read", read_only=True), Function("write")
    assert [server.asks(one) for one in (read, write)] == [False, True]
    [never] = updated(
        Settings(), tools=[{**SERVER, "require_approval": "never"}]
    ).settings.tools.servers
    assert not never.asks(write)
    [usual] = updated(Settings(), tools=[SERVER]).settings.tools.servers
    assert usual.asks(read)


def test_a_tool_of_a_server_may_be_chosen_before_it_is_known() -> None:
    choice = {"type": "mcp", "server_label": "files", "name": "read"}
    tools = updated(Settings(), tools=[SERVER], tool_choice=choice).settings.tools
    assert (tools.choice, tools.only) == ("required", "read")


def test_who_asks_for_words_wants_them_until_that_is_taken_back() -> None:
    written = {"model": "whisper-1", "language": "de"}
    asked = updated(Settings(), audio={"input": {"transcription": written}}).settings
    assert (asked.wants_words, asked.language) == (True, "de")
    assert updated(asked, instructions="Be kind.").settings.wants_words
    none = updated(asked, audio={"input": {"transcription": None}}).settings
    assert (none.wants_words, none.language) == (False, "")


def test_functions_stay_until_others_come() -> None:
    look, fly = ({"type": "function", "name": name} for name in ("look", "fly"))
    both = updated(Settings(), tools=[look, fly], tool_choice={"type": "function", "name": "fly"})
    assert both.settings.tools == Tools((Function("look"), Function("fly")), "required", "fly")
    kept = updated(both.settings, instructions="Be kind.")
    assert kept.settings.tools == both.settings.tools
    assert updated(both.settings, tool_choice="none").settings.tools.offered == ()
    assert updated(both.settings, tools=[look]).settings.tools == Tools((Function("look"),))


def spoken(seconds: float) -> str:
    sound = base64.b64encode(tone(seconds, REPLY_RATE).pcm16()).decode()
    content = [{"type": "input_audio", "audio": sound}]
    return message(
        "conversation.item.create",
        event_id="evt_1",
        previous_item_id="root",
        item={"type": "message", "id": "mine", "role": "user", "content": content},
    )


@pytest.mark.parametrize("seconds", [0.2, 8.0])
def test_an_item_may_be_spoken(seconds: float) -> None:
    (created,) = [event for event in decode_message(spoken(seconds), Settings()) if event]
    assert isinstance(created, events.ItemCreated)
    assert (created.event_id, created.previous_id, created.item.id) == ("evt_1", "root", "mine")
    assert created.item.sound
    assert created.item.sound.rate == INPUT_RATE
    assert created.item.sound.duration == pytest.approx(seconds, abs=0.01)


@pytest.mark.parametrize("seconds", [0.2, 8.0])
def test_what_a_response_is_to_answer_may_be_spoken(seconds: float) -> None:
    def said(length: float) -> dict[str, Any]:
        sound = base64.b64encode(tone(length, REPLY_RATE).pcm16()).decode()
        content = [{"type": "input_audio", "audio": sound}]
        return {"type": "message", "role": "user", "content": content}

    asked = {"conversation": "none", "input": [said(0.1), said(seconds)]}
    text = message("response.create", event_id="evt_1", response=asked)
    (event,) = [event for event in decode_message(text, Settings()) if event]
    assert isinstance(event, events.ReplyRequested), event
    assert event.event_id == "evt_1"
    assert event.input
    sounds = [item.sound for item in event.input if isinstance(item, Item)]
    lengths = [sound.duration if sound else 0 for sound in sounds]
    assert lengths == pytest.approx([0.1, seconds], abs=0.01)


def test_a_spoken_item_is_no_longer_than_an_utterance() -> None:
    (refused,) = [event for event in decode_message(spoken(31), Settings()) if event]
    assert isinstance(refused, ClientErred)
    assert (str(refused.error), refused.event_id) == ("an item may hold 30 s of sound", "evt_1")


def test_no_other_field_is_taken_for_the_sound_of_an_item() -> None:
    long = message(
        "conversation.item.create", event_id="evt_3", item={"type": "message", "id": "A" * 200_000}
    )
    (refused,) = [event for event in decode_message(long, Settings()) if event]
    assert isinstance(refused, ClientErred)
    assert "65536 characters besides its sound" in str(refused.error)
    assert refused.event_id == "evt_3"


def test_an_item_in_words_may_be_longer_than_any_other_message() -> None:
    output = {"type": "function_call_output", "call_id": "c", "output": "A" * 150_000}
    (created,) = decode_message(message("conversation.item.create", item=output), Settings())
    assert isinstance(created, events.ItemCreated), created
    assert len(created.item.text) == 150_000
    schema = {"type": "function", "name": "f", "parameters": {"enum": [0] * 30_000}}
    long = message("session.update", event_id="e", session={"type": "realtime", "tools": [schema]})
    (refused,) = decode_message(long, Settings())
    assert isinstance(refused, ClientErred)
    assert ("65536 characters" in str(refused.error), refused.event_id) == (True, "e")


def test_a_request_has_all_that_the_api_has_for_it() -> None:
    text = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi."}]}
    asked = decode_event(
        message(
            "response.create",
            event_id="evt_2",
            response={
                "instructions": "Be brief.",
                "conversation": "none",
                "metadata": {"topic": "x"},
                "output_modalities": ["text"],
                "input": [text, {"type": "item_reference", "id": "mine"}],
                "tools": [],
                "tool_choice": "none",
                "voice": "ash",
            },
        ),
        Settings(),
    )
    assert isinstance(asked, events.ReplyRequested)
    assert (asked.instructions, asked.in_band, asked.aloud) == ("Be brief.", False, False)
    assert (asked.metadata, asked.event_id) == ({"topic": "x"}, "evt_2")
    assert asked.input
    written, reference = asked.input
    assert isinstance(written, Item)
    assert (written.text, reference) == ("Hi.", "mine")
    assert decode_event(message("response.create"), Settings()) == events.ReplyRequested()
    assert decode_event(message("response.create", response={"input": []}), Settings()) == (
        events.ReplyRequested(input=())
    )
