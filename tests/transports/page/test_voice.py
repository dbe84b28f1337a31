"""`duologue.Voice` as Gradio sees it, without a browser."""

from typing import Any

import gradio as gr
import pytest

from duologue import Voice
from duologue.errors import InvalidSetting

_COMMON: dict[str, Any] = {
    "value": None,
    "visible": False,
    "elem_id": "talk",
    "elem_classes": ["a", "b"],
    "scale": 2,
    "min_width": 100,
    "container": True,
    "render": False,
    "key": "talk",
    "preserved_by_key": ["label"],
    "every": None,
    "inputs": None,
    "show_label": False,
}


def test_it_takes_the_arguments_of_every_gradio_component() -> None:
    voice = Voice("Talk", patience="quick", **_COMMON)
    config = voice.get_config()
    for name in ("visible", "elem_id", "elem_classes", "scale", "min_width", "container"):
        assert config[name] == _COMMON[name]
    assert voice.key == "talk"


async def test_an_update_of_it_is_one() -> None:
    with gr.Blocks(analytics_enabled=False) as demo:
        voice = Voice()
        gr.Button().click(lambda: gr.update(visible=False, label="Ask"), None, voice)
        gr.Button().click(lambda: Voice(patience="quick"), None, voice)
        gr.Button().click(lambda: Voice(patience="slow"), None, voice)  # type: ignore[arg-type]
        gr.Button().click(lambda: "hello", None, voice)
    updates = []
    for number in (0, 1):
        done = await demo.process_api(demo.fns[number], [])
        updates.append(done["data"][0])
    assert (updates[0]["visible"], updates[0]["label"]) == (False, "Ask")
    assert updates[1]["props"]["patience"] == "quick"
    with pytest.raises(InvalidSetting, match="patience is one of quick, normal, patient, fixed"):
        await demo.process_api(demo.fns[2], [])
    with pytest.raises(Exception, match=r"a Voice shows no value, so not 'hello'"):
        await demo.process_api(demo.fns[3], [])


async def test_an_interface_takes_it_by_name_and_gets_no_value_from_it() -> None:
    interface = gr.Interface(repr, "voice", "text", analytics_enabled=False)
    done = await interface.process_api(interface.fns[0], ["what a browser sends"])
    assert done["data"] == ["None"]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"url": "not a url"}, "url is 'not a url', not the address of a line"),
        ({"url": "ftp://host/v1"}, "url is 'ftp://host/v1', not the address of a line"),
        ({"url": "http:///v1"}, "url is 'http:///v1', not the address of a line"),
        ({"url": "javascript:alert(1)"}, "not the address of a line"),
        ({"url": ""}, "url is '', not the address"),
        ({"patience": "slow"}, "patience is one of quick, normal, patient, fixed, not 'slow'"),
        ({"stream_every": 0}, "stream_every goes from 0.01 to 1 seconds, not 0"),
        ({"pre_roll": -1}, "pre_roll goes from 0 to 5 seconds, not -1"),
        ({"idle_timeout": 0}, "idle_timeout goes from 1 to 3600 seconds, not 0"),
        ({"time_limit": float("nan")}, "time_limit goes from 1 to 600 seconds, not nan"),
    ],
)
def test_what_no_panel_can_have_is_refused_in_a_sentence(
    wrong: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InvalidSetting) as refused:
        Voice(render=False, **wrong)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("url", "script"),
    [
        ("/v1/realtime", "/voice/voice.js"),
        ("v1/realtime", "voice/voice.js"),
        ("https://h/duologue/v1/realtime", "https://h/duologue/voice/voice.js"),
        ("wss://h:1/a/b/v1/realtime?x=1", "https://h:1/a/b/voice/voice.js"),
        ("ws://h/v1/realtime", "http://h/voice/voice.js"),
    ],
)
def test_its_scripts_come_from_beside_the_line(url: str, script: str) -> None:
    assert f'new URL("{script}", document.baseURI)' in str(Voice(url=url, render=False).js_on_load)
