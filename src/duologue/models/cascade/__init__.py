"""The default model: recogniser -> language model -> synthesiser, streamed clause by clause.

pocketsphinx, SmolLM2 135M in llama.cpp and espeak-ng: small enough for any computer, and to be had
where no model hub can be reached. The first two run in processes of their own: pocketsphinx holds
Python's global lock for a second, and a computation can only be stopped with its process.
"""

from duologue.model import SpeechModel


def load(voice: str = "en-us", recognisers: str = "2") -> SpeechModel:
    """The model for `--model cascade`.

    Args:
        voice: a voice of espeak-ng, such as en-us, en-gb or en-us+f3.
        recognisers: how many utterances can be recognised at once, 1 to 8; 140 MB each.

    Raises:
        ModelUnavailable: a package or the weights are missing.
        InvalidSetting: there is no such voice or number.
    """
    # Not above: the child processes import this package too, and start faster without it.
    from duologue.models.cascade.pipeline import Cascade

    return Cascade(voice, recognisers)
