"""The chain with all of its parts by URL: a real language model's server, and a second Duologue."""

import secrets

import openai
import pytest

pytest.importorskip("ctranslate2")
pytest.importorskip("openvino")
pytest.importorskip("xllamacpp")

from rigs.recordings import words, wrong

from conftest import Serve
from duologue import weights
from duologue.audio import INPUT_RATE, REPLY_RATE, AudioChunk, concatenate
from duologue.audio.files import read_audio
from duologue.conversation.prompt import Prompt
from duologue.models import load_model
from duologue.models.cascade.llama_child import KEY
from duologue.system.child import Child
from models.cascade.rig import needs_weights, spoken

pytestmark = needs_weights


async def test_a_conversation_with_three_servers(serve: Serve) -> None:
    ears_and_voice = f"{serve(load_model('cascade')).url}/v1"
    key = secrets.token_urlsafe()
    file = str(weights.locate("smollm2-135m"))
    llama = await Child.start(
        "server", "duologue.models.cascade.llama_child", file, "2048", environment={KEY: key}
    )
    model = load_model(
        "cascade",
        stt=ears_and_voice,
        llm=f"{llama.greeting}/v1",
        llm_key=key,
        tts=ears_and_voice,
    )
    await model.start()
    question = await spoken("What is the capital of Germany?")
    chunks = [chunk async for chunk in model.reply(Prompt(question))]
    assert wrong("What is the capital of Germany?", chunks[0].user_text or "") <= 2
    assert "".join(chunk.text for chunk in chunks).strip()
    sound = concatenate([chunk.audio for chunk in chunks if chunk.audio], REPLY_RATE)
    assert sound.duration > 0.5
    assert "127.0.0.1:" in model.capabilities.note
    await model.close()
    await llama.close()


async def test_what_our_voice_says_our_ear_hears(serve: Serve) -> None:
    url = serve(load_model("cascade")).url
    text = "The meeting with my sister is on Friday evening."  # no figures: they are written in many ways
    async with openai.AsyncOpenAI(api_key="any", base_url=f"{url}/v1") as client:
        sound = await client.audio.speech.create(
            model="any", voice="alloy", input=text, response_format="wav"
        )
        heard = await client.audio.transcriptions.create(
            model="any", file=("speech.wav", sound.content, "audio/wav")
        )
        assert wrong(text, heard.text) <= 1
    read: AudioChunk = read_audio(sound.content).at(INPUT_RATE)
    assert 1.5 < read.duration < 5
    assert len(words(heard.text)) >= 6
