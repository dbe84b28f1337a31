"""How many processors there are, and what they can do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from duologue import cli
from duologue.system import cpus

MACHINE = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def system(root: Path, membership: str, **files: str) -> Path:
    """The files of a system of which this process is a part."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(membership)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/").replace("cpu_", "cpu.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture(autouse=True)
def _many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/\n", {"cpu_max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu_max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu_max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu_max": "max 100000\n"}, 64),
        ("0::/\n", {"cpu_max": "garbage"}, 64),
        ("0::/\n", {"cpu_max": "100000 0\n"}, 64),
        ("0::/\n", {}, 64),
        ("0::/a/b\n", {"a__b__cpu_max": "max 100000", "a__cpu_max": "300000 100000"}, 3),
        ("0::/a/b\n", {"cpu_max": "400000 100000"}, 4),  # only the container's own is to be seen
        (
            "2:cpu:/docker/1\n0::/\n",
            {"cpu__cpu_cfs_quota_us": "500000", "cpu__cpu_cfs_period_us": "100000"},
            5,
        ),
        (
            "4:cpu,cpuacct:/\n",
            {"cpu,cpuacct__cpu_cfs_quota_us": "-1", "cpu,cpuacct__cpu_cfs_period_us": "100000"},
            64,
        ),
        ("nonsense\n", {}, 64),
    ],
)
def test_a_container_s_quota_counts(
    membership: str, files: dict[str, str], expected: int, tmp_path: Path
) -> None:
    assert cpus.cpus(system(tmp_path, membership, **files)) == expected


def test_where_there_are_no_groups_the_scheduler_s_number_counts(tmp_path: Path) -> None:
    assert cpus.cpus(tmp_path) == 64


def test_libraries_are_told_before_they_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "cpus", lambda: 2)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("RAYON_NUM_THREADS", "7")
    cpus.limit_threads()
    assert (os.environ["OMP_NUM_THREADS"], os.environ["RAYON_NUM_THREADS"]) == ("2", "7")
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    cpus.limit_threads()
    assert "OMP_NUM_THREADS" not in os.environ


def test_numpy_starts_no_threads_unless_the_user_wants_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    cpus.limit_threads()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    cpus.limit_threads()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "3"


def test_the_entry_imports_nothing_that_would_have_counted_before() -> None:
    program = "import sys, duologue.__main__, duologue.system.cpus; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n"


def test_what_a_processor_lacks_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nflags\t\t: fpu sse4_2 avx\n")
    assert cpus.lacking(("avx", "avx2", "fma"), info) == ("avx2", "fma")
    assert cpus.lacking(("avx",), info) == ()
    assert cpus.lacking(("avx2",), tmp_path / "none") == ()
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert cpus.lacking(("avx2",), info) == ()


def test_a_processor_without_avx2_gets_a_sentence_instead_of_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    (tmp_path / "cpuinfo").write_text("flags\t\t: fpu sse4_2 avx fma f16c bmi2\n")
    monkeypatch.setattr(cpus, "_CPUINFO", tmp_path / "cpuinfo")
    assert cli.main(["serve", "--model", "cascade", "--port", "0"]) == 2
    assert capsys.readouterr().err == (
        "duologue: the model 'cascade' cannot run here: its language model needs a processor with "
        "avx2; take --model mini-omni, or --llm with the address of a server\n"
    )
    assert cli.main(["doctor"]) == 1
    assert "missing  avx2 in this processor, for the default model's" in capsys.readouterr().out
