"""The command line, as a user types it."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import soundfile

from cli.test_report import keep
from conftest import put_damaged
from duologue import weights
from duologue.audio import to_wav
from duologue.audio.files import read_audio
from duologue.store.figures import TurnLog
from duologue.testing import tone

COMMAND = [sys.executable, "-m", "duologue"]


def run(*arguments: str, code: int = 0) -> tuple[str, str]:
    """What a command says on standard output and standard error."""
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


@contextmanager
def serving(temporary: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server and its URL."""
    process = subprocess.Popen(
        [*COMMAND, "serve", "--model", "echo", "--port", "0", *flags],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    try:
        assert process.stdout
        said = process.stdout.readline()
        url = re.search(r"http://\S+", said)
        assert url, said
        yield process, url[0]
    finally:
        process.terminate()
        process.communicate(timeout=120)


@pytest.fixture
def question(tmp_path: Path) -> Path:
    """Stereo, 44.1 kHz: what a phone records."""
    path = tmp_path / "question.wav"
    sound = tone(1.0, 44_100).samples
    soundfile.write(path, [[sample, sample] for sample in sound], 44_100)
    return path


@pytest.mark.parametrize("command", ["serve", "say", "turns", "pull", "doctor"])
def test_every_command_explains_itself(command: str) -> None:
    said, _ = run(command, "--help")
    assert said.startswith(f"usage: duologue {command}")
    assert len(said.splitlines()) > 6


def test_every_setting_has_a_flag_with_its_default() -> None:
    said = " ".join(run("serve", "--help")[0].split())
    assert "--silence SILENCE seconds of silence that end a turn with patience fixed. [0.5]" in said
    assert "--no-barge-in" in said


@pytest.mark.parametrize("switch", ["-O", "-OO"])
def test_help_does_not_come_out_of_docstrings_which_python_may_throw_away(switch: str) -> None:
    done = subprocess.run(
        [sys.executable, switch, "-m", "duologue", "serve", "--help"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "seconds of silence that end a turn with patience fixed. [0.5]" in " ".join(
        done.stdout.split()
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["say", "nothing.wav"], "there is no file nothing.wav"),
        (["say", "QUESTION", "-o", "reply.ogg"], "written as .wav or .mp3, not as reply.ogg"),
        (
            ["say", "QUESTION", "--url", "http://127.0.0.1:9"],
            "no Duologue server at http://127.0.0.1:9",
        ),
        (["say", "QUESTION", "-o", "/no/folder/reply.wav", "--model", "echo"], "cannot be written"),
        (["serve", "--port", "lots"], "port is 'lots'"),
        (["serve", "--model", "nobody"], "no model named 'nobody'"),
        (["serve", "--config", "nothing.toml"], "the configuration nothing.toml cannot be read"),
        (["serve", "--host", "192.0.2.1", "--model", "echo"], "cannot serve on 192.0.2.1"),
        (
            ["pull", "everything"],
            "no weights named 'everything'; there are: silero-vad, smart-turn, smollm2-135m, whisper",
        ),
        (["turns", "--data", "DAMAGED"], "turns.sqlite3 cannot be read: file is not a database"),
        (["pull", "--random"], "--revision and --random are for mini-omni alone"),
        (["pull", "mini-omni", "silero-vad", "--random"], "are for mini-omni alone"),
    ],
)
def test_an_error_is_one_sentence_and_exit_code_2(
    question: Path, arguments: list[str], sentence: str
) -> None:
    damaged = question.parent / "damaged"
    damaged.mkdir()
    (damaged / "turns.sqlite3").write_text("damaged" * 1000)
    paths = {"QUESTION": str(question), "DAMAGED": str(damaged)}
    given = [paths.get(word, word) for word in arguments]
    _, complaint = run(*given, code=2)
    assert sentence in complaint
    assert complaint.startswith("duologue: ")
    assert complaint.count("\n") == 1


def test_say_starts_a_server_of_its_own_and_keeps_the_answer(
    question: Path, tmp_path: Path
) -> None:
    for name in ("reply.wav", "REPLY.MP3", "REPLY.WAV"):
        reply = tmp_path / name
        said, complaint = run("say", str(question), "-o", str(reply), "--model", "echo")
        assert "first sound of the reply" in said
        assert "by the server's clock: model started" in said
        assert complaint == ""
        assert read_audio(reply).duration == pytest.approx(1.0, abs=0.1)


def test_say_talks_with_a_running_server(question: Path, tmp_path: Path) -> None:
    with serving(tmp_path, "--no-page") as (_, url):
        assert re.search(r"reply, (0\.9|1\.0)\d s", run("say", str(question), "--url", url)[0])


def test_say_gives_the_key_that_the_server_asks_for(
    question: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path, "--no-page", "--api-key", "sesame") as (_, url):
        complaint = run("say", str(question), "--url", url, code=2)[1]
        assert complaint.startswith(f"duologue: the server at {url} asks for its API key")
        run("say", str(question), "--url", url, "--api-key", "sesame")
        monkeypatch.setenv("DUOLOGUE_API_KEY", "sesame")
        run("say", str(question), "--url", url)
    run("say", str(question), "--model", "echo")


def test_say_keeps_no_figures(
    question: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    run("say", str(question), "--model", "echo")
    assert not (tmp_path / "share").exists()


def test_turns_reads_them_where_the_server_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(TurnLog(tmp_path / "turns.sqlite3")) as log:
        keep(log, 20)
    said, _ = run("turns", "--data", str(tmp_path))
    assert "all 20 " in " ".join(said.split())
    monkeypatch.setenv("DUOLOGUE_DATA", str(tmp_path))
    assert run("turns")[0] == said
    assert run("turns", "--mine")[0].startswith("There is no turn of this computer's own in ")


def test_doctor_tells_what_is_there() -> None:
    pytest.importorskip("ctranslate2")
    said, _ = run("doctor")
    assert "ok       the weights silero-vad in " in said
    assert not re.search("^missing", said, re.MULTILINE)


def test_doctor_tells_how_to_get_what_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUOLOGUE_CACHE", str(tmp_path))
    said, _ = run("doctor", code=1)
    assert "are missing; get them: duologue pull silero-vad" in said
    assert "run: duologue pull silero-vad" in run("serve", "--model", "echo", code=2)[1]


def test_damaged_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put_damaged("silero-vad", tmp_path)
    monkeypatch.setenv("DUOLOGUE_CACHE", str(tmp_path))
    said, _ = run("doctor", code=1)
    assert (
        f"damaged  the weights silero-vad in {path} are damaged; "
        "get them again: duologue pull silero-vad\n"
    ) in said
    assert run("serve", "--model", "echo", code=2)[1].endswith(
        f"duologue: the voice activity weights in {path} are damaged; run: duologue pull silero-vad\n"
    )


def test_pull_takes_the_original_s_files_from_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from tiny_mini_omni import original

    monkeypatch.setenv("DUOLOGUE_CACHE", str(tmp_path / "cache"))
    _, complaint = run("pull", "mini-omni", "--from", "nowhere", code=2)
    assert complaint == "duologue: there is no nowhere/model_config.yaml\n"
    folder = original(tmp_path / "original").mini_omni
    said, _ = run("pull", "mini-omni", "--from", str(folder))
    where = tmp_path / "cache/mini-omni"
    assert said.splitlines()[-1] == f"mini-omni: the files in {folder}; in {where}"
    there, _ = run("doctor", code=1)
    assert f"ok       the weights mini-omni, the files in {folder}, in {where}" in there


def test_a_folder_is_not_where_a_language_model_of_the_hub_is_fetched_from() -> None:
    _, complaint = run("pull", "qwen2.5-0.5b", "--from", "somewhere", code=2)
    assert complaint == (
        "duologue: --from is not for qwen2.5-0.5b: give the path of the file to --llm\n"
    )


def test_random_weights_are_called_noise_wherever_they_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from duologue.models.mini_omni.convert import convert
    from tiny_mini_omni import original

    monkeypatch.setenv("DUOLOGUE_CACHE", str(tmp_path))
    convert(original(tmp_path / "original"), tmp_path / "mini-omni-random")
    run("pull", "mini-omni", "--random")  # which finds them, and rounds them
    said, _ = run("pull", "mini-omni", "--random")
    assert said == (
        "mini-omni: random weights (noise): it will utter noise; "
        f"there already, in {tmp_path}/mini-omni-random\n"
    )
    assert "ok       the weights mini-omni, random weights (noise), in" in run("doctor", code=1)[0]


def test_doctor_says_how_near_mini_omni_hears_to_what_it_was_trained_for(
    question: Path, mini_omni_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUOLOGUE_CACHE", str(mini_omni_cache))
    for sounds in ([], [str(question), str(question)]):
        said, _ = run("doctor", "--model", "mini-omni", *sounds)
        *each, summary = said.splitlines()
        assert len(each) == (len(sounds) or 3)
        for line in each:
            assert re.fullmatch(
                r" *\d+\.\d s: cosine mean [01]\.\d{4}, 5 % quantile -?[01]\.\d{4}, lowest -?[01]\.\d{4}",
                line,
            )
        assert summary.startswith(f"random weights (noise), int8, {len(each)} recordings: ")
        assert summary.endswith(("near enough", "--model-options window=exact"))
    assert each[0] == each[1]
    monkeypatch.setenv("DUOLOGUE_CACHE", str(tmp_path))
    _, complaint = run("doctor", "--model", "mini-omni", code=2)
    assert complaint == "duologue: Mini-Omni's weights are missing; run: duologue pull mini-omni\n"
    _, complaint = run("doctor", str(question), code=2)
    assert complaint == "duologue: files are compared with --model mini-omni\n"


def test_mini_omni_answers_where_its_weights_are_and_the_built_in_chain_elsewhere(
    question: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from duologue.models.mini_omni.convert import convert
    from duologue.models.mini_omni.original import Original
    from tiny_mini_omni import original

    voice_activity = weights.locate("silero-vad")
    original(tmp_path / "original")
    monkeypatch.setenv("DUOLOGUE_CACHE", str(tmp_path))
    (tmp_path / voice_activity.name).write_bytes(voice_activity.read_bytes())
    _, complaint = run("say", str(question), code=2)
    assert "run: duologue pull whisper-base" in complaint, "it was not the built-in chain"
    # As if they had come from the hub: nothing says that they are random.
    convert(Original.in_folder(tmp_path / "original"), tmp_path / "mini-omni")
    monkeypatch.setenv("DUOLOGUE_MODEL_OPTIONS", "max_reply=1,window=pooled,device=cpu")
    said, _ = run("say", str(question))
    assert said.startswith("Mini-Omni hears this turn only.\n")
    assert "first sound of the reply" in said


@pytest.mark.parametrize("damaged", [False, True])
def test_without_smart_turn_it_serves_and_says_what_that_costs(
    damaged: bool, question: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice_activity = weights.locate("silero-vad")
    where = f"in {put_damaged('smart-turn', tmp_path)} are damaged" if damaged else "are missing"
    monkeypatch.setenv("DUOLOGUE_CACHE", str(tmp_path))
    (tmp_path / voice_activity.name).symlink_to(voice_activity)
    said, complaint = run("say", str(question), "--model", "echo")
    assert "first sound of the reply" in said
    assert complaint == (
        "all pauses are taken alike, however finished they sound: "
        f"the turn taking weights {where}; run: duologue pull smart-turn\n"
    )


def test_pull_asks_the_hub_and_says_when_it_cannot_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("DUOLOGUE_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # or it tries again and again, for half a minute
    said, complaint = run("pull", "mini-omni", code=2)
    assert "fetching gpt-omni/mini-omni" in said
    assert complaint.startswith(
        "duologue: http://127.0.0.1:9 could not be reached for model_config"
    )
    assert complaint.count("\n") == 1


@pytest.mark.parametrize("there", ["an empty folder", "a half converted folder", "a file"])
def test_what_is_no_checkpoint_does_not_keep_the_default_model_from_starting(
    there: str, question: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("openvino", "tokenizers", "ctranslate2"):
        pytest.importorskip(package)
    here, folder = weights.cache_folder(), tmp_path / "mini-omni"
    for row in weights.WEIGHTS.values():
        (tmp_path / row.file_name).symlink_to(here / row.file_name)
    if there == "a file":
        folder.write_text("")
    else:
        folder.mkdir()
    if there == "a half converted folder":
        (folder / "checkpoint.json").write_text('{"format": 1}')
    monkeypatch.setenv("DUOLOGUE_CACHE", str(tmp_path))
    said, complaint = run("say", str(question))
    assert "SmolLM2 135M (here; small, often wrong) thinks" in said.partition("\n")[0]
    if there == "a half converted folder":  # what holds no checkpoint at all is not worth a word
        left_out = (
            f"Mini-Omni is left out: .*{re.escape(str(folder))}.*; the built-in chain answers\n"
        )
        assert re.fullmatch(left_out, complaint)
    else:
        assert complaint == ""
    # Who asks for it by name gets it, or the reason.
    _, refused = run("say", str(question), "--model", "mini-omni", code=2)
    assert refused.endswith("run: duologue pull mini-omni\n")
    assert refused.count("\n") == 1


def test_doctor_does_not_ask_for_mini_omni(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ctranslate2")
    here = weights.cache_folder()
    monkeypatch.setenv("DUOLOGUE_CACHE", str(tmp_path))
    for row in weights.WEIGHTS.values():
        (tmp_path / row.file_name).symlink_to(here / row.file_name)
    said, _ = run("doctor")
    assert (
        "absent   the weights mini-omni: Mini-Omni's weights are missing; run: duologue pull"
        in said
    )


def test_a_server_serves_its_page_and_ends_at_a_signal_leaving_nothing_behind(
    tmp_path: Path,
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with serving(temporary) as (process, url):
        with urllib.request.urlopen(url) as page:
            assert "Duologue" in page.read().decode()
        with urllib.request.urlopen(url + "/health") as health:
            assert json.load(health)["model"] == "echo"
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
    assert list(temporary.iterdir()) == []


def test_of_a_question_that_is_too_long_the_beginning_is_answered(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    path.write_bytes(to_wav(tone(40)))
    said, complaint = run("say", str(path), "--model", "echo")
    assert "its end was not heard" in said
    assert re.search(r"reply, (29|30)\.", said)
    assert complaint == ""


@pytest.mark.parametrize("url", ["localhost:7860", "ws://localhost:7860/", ""])
def test_a_server_is_named_by_its_url(url: str, question: Path) -> None:
    _, complaint = run("say", str(question), "--url", url or " ", code=2)
    assert complaint.startswith("duologue: a server is named as http://host:port, not as ")
