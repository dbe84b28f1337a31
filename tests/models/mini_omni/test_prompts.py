import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")
pytest.importorskip("safetensors")

from duologue.models.mini_omni.prompts import Task, question, speech_prompt, text_prompt
from duologue.models.mini_omni.runtime import Ids
from duologue.models.mini_omni.vocabulary import Vocabulary
from models.mini_omni.nets.generate import CONFIG, vectors

SMALL, FULL = Vocabulary(512, 192), Vocabulary()


def _ids(name: str, mode: str) -> NDArray[np.int64]:
    return vectors(name)[f"{mode}_input_ids"].numpy()


def _spoken(vocabulary: Vocabulary, frames: int, task: Task) -> Ids:
    return np.hstack([speech_prompt(vocabulary, frames), question(vocabulary, task)])


@pytest.mark.parametrize("task", [Task.A1A2, Task.A1T2, Task.A1T1])
def test_a_spoken_question_is_asked_as_the_original_asks_it(task: Task) -> None:
    np.testing.assert_array_equal(_spoken(SMALL, 12, task), _ids("small", task.name))


@pytest.mark.parametrize("task", [Task.T1A2, Task.T1T2])
def test_a_written_question_is_asked_as_the_original_asks_it(task: Task) -> None:
    prompt = text_prompt(SMALL, CONFIG["small"]["text_ids"])
    asked = np.hstack([prompt, question(SMALL, task)])
    np.testing.assert_array_equal(asked, _ids("small", task.name))


@pytest.mark.parametrize(
    ("name", "mode", "frames"),
    [
        ("small", "batch", 12),
        ("small", "stop_eoa", 9),
        pytest.param("full", "batch", 12, marks=pytest.mark.shared),
    ],
)
def test_the_two_rows_of_the_batch_mode_ask_for_sound_and_for_text(
    name: str, mode: str, frames: int
) -> None:
    vocabulary = SMALL if name == "small" else FULL
    rows = [_spoken(vocabulary, frames, task) for task in (Task.A1A2, Task.A1T2)]
    np.testing.assert_array_equal(np.stack(rows, 1), _ids(name, mode))


def test_only_the_last_position_says_what_is_wanted() -> None:
    questions = {question(FULL, task).tobytes() for task in Task}
    # An answer is asked for in the same way whether the question was spoken or written.
    assert len(questions) == 3
    assert [task for task in Task if task.speaks] == [Task.A1A2, Task.T1A2]
