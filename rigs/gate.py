"""The page's echo gate (`echo.js`), run by Node."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from duologue.transports import page

_ECHO = Path(page.__file__).with_name("static") / "echo.js"

# Reads calls, [name, *arguments], one a line; "new" makes another gate. Answers `isEcho`.
_RUNNER = """
import { createInterface } from "node:readline";
import { EchoGate } from "./echo.mjs";
let gate;
for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...given] = JSON.parse(line);
  if (name === "new") gate = new EchoGate(...given);
  else if (name === "isEcho") console.log(gate.isEcho(...given));
  else gate[name](...given);
}
"""

_LATENCY = 0.03  # seconds, as browsers report it


def find_node() -> str | None:
    """Where Node is, if anywhere."""
    return shutil.which("node")


class Gate:
    """One gate after the other, in one process. All times are seconds, all levels 0..1."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin
        assert process.stdout
        self._in, self._out = process.stdin, process.stdout

    def call(self, name: str, *given: object) -> None:
        """Have a method called that answers nothing; "new" makes another gate."""
        self._in.write(json.dumps([name, *given]) + "\n")

    def is_echo(self, level: float, seconds: float, at: float) -> bool:
        """Whether a chunk of the microphone, complete at `at`, is no louder than the echo."""
        self.hear(level, seconds, at)
        return self.answer()

    def hear(self, level: float, seconds: float, at: float) -> None:
        """As `is_echo`, of which the `answer` is fetched later: many in one go are quicker."""
        self.call("isEcho", level, seconds, at, _LATENCY)

    def answer(self) -> bool:
        """Whether the chunk was echo, one after the other."""
        self._in.flush()
        return self._out.readline() == "true\n"


@contextmanager
def open_gate() -> Iterator[Gate]:
    """The gate in a Node of its own; there has to be one."""
    node = find_node()
    assert node
    with TemporaryDirectory() as folder:
        shutil.copy(_ECHO, Path(folder, "echo.mjs"))
        runner = Path(folder, "runner.mjs")
        runner.write_text(_RUNNER)
        with subprocess.Popen(
            [node, runner], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            yield Gate(process)
            assert process.stdin
            process.stdin.close()
