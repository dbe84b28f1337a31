"""`make pythons`: the core and the command line on every other Python that this machine has.

Each gets an environment of its own in .venv, of wheels only: without torch, without Mini-Omni,
without what drives the browser. The Python that runs this has its own: `make check` is for that one.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_KNOWN = {f"3.{minor}" for minor in range(11, 15)}  # named where they are not found
_EXTRAS = ("page", "cascade", "formats", "mcp")
_TOOLS = ("pytest", "pytest-asyncio", "hypothesis", "httpx", "psutil")
_TESTS = (
    "test_errors.py test_metrics.py test_timings.py test_turns.py cli conversation session store turns "
    "models/test_engine.py models/test_models.py server/test_config.py system/test_stopping.py "
    "transports/realtime"
)
# What these try is a client, not the Python that serves it; or takes long, and is the same on each.
_NOT = (
    "transports/realtime/test_agents.py",
    "transports/realtime/test_node.py",
    "conversation/test_random_sessions.py",
)


def main() -> int:
    """Run them. Returns 1 if a test failed on one of them, or nothing could be installed there."""
    ours = "{}.{}".format(*sys.version_info)
    found = {version: path for version, path in _pythons().items() if version != ours}
    _say(f"Python {ours} runs the whole suite")
    failed = [
        version for version, path in sorted(found.items(), key=_order) if not _run(version, path)
    ]
    for version in sorted(_KNOWN - {ours, *found}):
        _say(f"Python {version} is not on this machine")
    for version in failed:
        _say(f"Python {version} FAILED")
    return 1 if failed else 0


def _pythons() -> dict[str, str]:
    """The newest of each version from 3.11 on, in the version manager's folder and on the PATH."""
    manager = Path(os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv"))
    folders = [path / "bin" for path in manager.glob("versions/3.*")]
    folders += [Path(folder) for folder in os.get_exec_path()]
    found: dict[str, tuple[list[int], str]] = {}
    for folder in folders:
        for path in folder.glob("python3.*"):
            if re.fullmatch(r"python3\.\d+", path.name) and (there := _version(path)):
                name = f"{there[0]}.{there[1]}"
                found[name] = max(found.get(name, ([], "")), (there, str(path)))
    return {name: path for name, (version, path) in found.items() if version >= [3, 11]}


def _version(python: Path) -> list[int]:
    """Its version; empty where it does not run, as a version manager's stand-in of another one."""
    command = [str(python), "-c", "import sys; print(*sys.version_info[:3])"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return []
    return [int(number) for number in done.stdout.split()] if done.returncode == 0 else []


def _run(version: str, python: str) -> bool:
    folder = _ROOT / ".venv" / f"python{version}"
    there = folder / "bin/python"
    if not there.exists():
        made = subprocess.run([python, "-m", "venv", str(folder)], capture_output=True, check=False)
        if made.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            _say(f"Python {version} cannot make a virtual environment, so nothing ran there")
            return True
    missing = _install(there)
    if missing is None:
        return False
    without = f", without {' and '.join(missing)}, of which there is no wheel" if missing else ""
    _say(f"Python {version}: the core and the command line{without}")
    tests = [f"tests/{name}" for name in _TESTS.split()]
    tests += [f"--ignore=tests/{name}" for name in _NOT]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT / "src")}
    command = [str(there), "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    return subprocess.run(command, cwd=_ROOT, env=environment, check=False).returncode == 0


def _install(python: Path) -> list[str] | None:
    """Install what the tests need; gives the packages without a wheel, None if it does not work."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *_TOOLS, *(row for name in _EXTRAS for row in extras[name])]
    missing: list[str] = []
    while True:
        done = subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", "--only-binary=:all:", *wanted],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            return missing
        absent = re.search(r"No matching distribution found for ([\w.-]+)", done.stderr)
        rows = [row for row in wanted if absent and row.startswith(absent[1])]
        if not rows:
            _say("\n".join(done.stderr.splitlines()[-3:]))
            return None
        missing += [re.split(r"[<>=\[;]", row)[0] for row in rows]
        wanted = [row for row in wanted if row not in rows]


def _order(item: tuple[str, str]) -> int:
    return int(item[0].split(".")[1])


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
