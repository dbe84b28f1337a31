"""What may import what, beyond the floor plan of the package itself (`pyproject.toml`)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("folder", ["bench", "rigs"])
def test_what_is_no_test_imports_none(folder: str) -> None:
    tests = {path.stem for path in (ROOT / "tests").iterdir()}
    files = list((ROOT / folder).rglob("*.py"))
    assert files
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            assert not {name.partition(".")[0] for name in names} & tests, file
