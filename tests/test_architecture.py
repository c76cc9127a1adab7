"""The layers that import-linter cannot check, and the cost of starting."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [
    path for folder in ("biam_pipe", "pipeline", "schemas", "dags") for path in sorted((ROOT / folder).rglob("*.py"))
]


def _imported(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module} | {f"{node.module}.{name.name}" for name in node.names}
    return modules


def test_nothing_imports_the_command_line_but_what_starts_it() -> None:
    importing = [path for path in SOURCES if any(name.split(".")[0] == "cli" for name in _imported(path))]
    assert importing == [ROOT / "biam_pipe/__main__.py"]


def test_the_command_line_imports_only_the_door_what_it_prints_settings_and_schemas() -> None:
    ours = {name for name in _imported(ROOT / "cli.py") if name.split(".")[0] in ("pipeline", "schemas", "dags")}
    doors = ("pipeline.flow", "pipeline.commands", "pipeline.settings", "schemas")
    assert all(name == "pipeline" or name.startswith(doors) for name in ours), ours


@pytest.mark.parametrize("module", ["biam_pipe.opening", "cli", "pipeline.flow", "pipeline.settings.layers"])
def test_importing_loads_no_heavy_library(module: str) -> None:
    heavy = ["torch", "torchvision", "gensim", "distributed", "dask", "h5py", "hdf5plugin", "matplotlib", "pycurl"]
    program = f"import {module}, sys; print(*[name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.split() == []


def test_the_pipeline_holds_folders_and_the_door_and_no_folder_is_a_drawer() -> None:
    assert sorted(path.name for path in (ROOT / "pipeline").glob("*.py")) == ["__init__.py", "flow.py"]
    folders = {path.parent for path in SOURCES}
    full = {folder.name: count for folder in folders if (count := len(list(folder.glob("[!_]*.py")))) > 16}
    assert not full


def test_outside_of_files_nobody_asks_for_a_path_below_a_work_folder() -> None:
    asking = ("storage.local(", "pictures.local(", "storage.root)", "receipt.files[")
    outside = [path for path in SOURCES if "pipeline/files" not in path.as_posix()]
    found = [(path.name, text) for path in outside for text in asking if text in path.read_text()]
    assert not found
