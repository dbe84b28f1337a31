import asyncio

import pytest

pytest.importorskip("espeakng_loader")

from duologue.errors import InvalidSetting
from duologue.models.cascade.synthesiser import Synthesiser


def test_an_unknown_voice_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="no voice 'nobody'"):
        Synthesiser("nobody")


async def test_two_voices_do_not_mix() -> None:
    american, german = Synthesiser("en-us"), Synthesiser("de")
    first, _, second = await asyncio.gather(
        american.speak("Good morning"), german.speak("Guten Morgen"), american.speak("Good morning")
    )
    american.close()
    german.close()
    assert first.duration == pytest.approx(second.duration, rel=0.01)  # it is not quite exact


async def test_words_that_make_no_sound_give_an_empty_chunk() -> None:
    synthesiser = Synthesiser("en-us")
    assert (await synthesiser.speak("")).duration == 0
    synthesiser.close()
