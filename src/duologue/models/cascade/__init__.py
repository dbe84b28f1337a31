"""The default model: recogniser -> language model -> synthesiser, streamed clause by clause.

pocketsphinx, SmolLM2 135M in llama.cpp and espeak-ng: small enough for any computer, and to be had
where no model hub can be reached. The first two run in processes of their own: pocketsphinx holds
Python's global lock for a second, and a computation can only be stopped with its process.
"""

from duologue.cpus import lacking
from duologue.errors import ModelUnavailable
from duologue.model import SpeechModel

NEEDED = ("avx2", "fma", "f16c", "bmi2")
"""What xllamacpp is built for: elsewhere its process dies of an illegal instruction."""


def load(voice: str = "en-us", recognisers: str = "2") -> SpeechModel:
    """The model for `--model cascade`.

    Args:
        voice: a voice of espeak-ng, such as en-us, en-gb or en-us+f3.
        recognisers: how many utterances can be recognised at once, 1 to 8; 140 MB each.

    Raises:
        ModelUnavailable: a package or the weights are missing, or the processor is too old.
        InvalidSetting: there is no such voice or number.
    """
    if missing := lacking(NEEDED):
        raise ModelUnavailable(
            "the model 'cascade' cannot run here: its language model needs a processor with "
            f"{' and '.join(missing)}; take --model mini-omni"
        )
    # Not above: the child processes import this package too, and start faster without it.
    from duologue.models.cascade.pipeline import Cascade

    return Cascade(voice, recognisers)
