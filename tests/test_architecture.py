"""The layers that import-linter cannot check, and the cost of starting."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [path for folder in ("pipeline", "schemas", "dags") for path in sorted((ROOT / folder).rglob("*.py"))]


def _imported(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module} | {f"{node.module}.{name.name}" for name in node.names}
    return modules


def test_nothing_imports_the_command_line() -> None:
    assert not [path for path in SOURCES if any(name.split(".")[0] == "cli" for name in _imported(path))]


def test_the_command_line_imports_only_the_door_what_it_prints_dags_and_schemas() -> None:
    ours = {name for name in _imported(ROOT / "cli.py") if name.split(".")[0] in ("pipeline", "schemas", "dags")}
    doors = ("pipeline.flow", "pipeline.console", "dags", "schemas")
    assert all(name == "pipeline" or name.startswith(doors) for name in ours), ours


@pytest.mark.parametrize("module", ["cli", "pipeline.flow", "dags.settings"])
def test_importing_loads_no_heavy_library(module: str) -> None:
    heavy = ["torch", "torchvision", "gensim", "distributed", "dask", "h5py", "hdf5plugin", "matplotlib", "pycurl"]
    program = f"import {module}, sys; print(*[name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.split() == []


def test_modules_are_short() -> None:
    long = {
        path.name: count for path in (*SOURCES, ROOT / "cli.py") if (count := len(path.read_text().splitlines())) > 300
    }
    assert not long
