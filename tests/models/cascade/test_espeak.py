import asyncio
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("espeakng_loader")

from duologue.audio import REPLY_RATE, AudioChunk, concatenate
from duologue.errors import InvalidSetting
from duologue.models.cascade.espeak import Espeak


def test_an_unknown_voice_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="no voice 'nobody'"):
        Espeak("nobody")


def test_its_voices_are_those_of_its_languages_the_usual_one_first() -> None:
    assert Espeak().voices[0] == "en-us"
    british = Espeak("en-gb").voices
    assert british[0] == "en-gb"
    assert {"en-us", "de"} < set(british)
    assert len(set(british)) == len(british)


async def sound(espeak: Espeak, words: str) -> AudioChunk:
    return concatenate([chunk async for chunk in espeak.speak(words)], REPLY_RATE)


async def test_two_voices_do_not_mix() -> None:
    american, german = Espeak("en-us"), Espeak("de")
    first, _, second = await asyncio.gather(
        sound(american, "Good morning"),
        sound(german, "Guten Morgen"),
        sound(american, "Good morning"),
    )
    await american.close()
    await german.close()
    assert first.duration == pytest.approx(second.duration, rel=0.01)  # it is not quite exact


async def test_words_that_make_no_sound_give_no_chunk() -> None:
    espeak = Espeak()
    assert [chunk async for chunk in espeak.speak("")] == []
    await espeak.close()


async def test_a_voice_may_be_quick_or_slow_while_another_is_not() -> None:
    quick, usual, slow = Espeak(speed=2.0), Espeak(), Espeak(speed=0.5)
    lengths = [
        (await sound(espeak, "Good morning to you")).duration for espeak in (quick, usual, slow)
    ]
    assert lengths[0] < 0.7 * lengths[1]
    assert lengths[2] > 1.4 * lengths[1]
    for espeak in (quick, usual, slow):
        await espeak.close()


@pytest.mark.parametrize("letters", [95, 240, 1000])
def test_the_data_of_espeak_may_lie_in_a_folder_with_a_long_name(
    letters: int, tmp_path: Path
) -> None:
    folder = tmp_path
    while len(str(folder)) < letters:
        folder /= "a" * min(200, letters - len(str(folder)))
    packages = folder / ".venv/lib/python3.11/site-packages"
    packages.mkdir(parents=True)
    [package] = importlib.util.find_spec("espeakng_loader").submodule_search_locations  # type: ignore[union-attr, misc]
    (packages / "espeakng_loader").symlink_to(package)
    program = (
        "import espeakng_loader\n"
        f"assert espeakng_loader.__file__.startswith({str(packages)!r})\n"
        "from duologue.models.cascade.espeak import _sound\n"
        "print(_sound('Good morning.', 'en-us+f3', 1.0).duration > 0.5)\n"
    )
    path = os.pathsep.join((str(packages), *sys.path))
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "True\n", done.stderr
