"""Limits of control groups, from files as Linux has them in containers, under Slurm and for a user."""

from pathlib import Path

import pytest

from pipeline.machine.control_group import ControlGroup


@pytest.mark.parametrize(
    ("own", "files", "memory", "cores"),
    [
        ("0::/\n", {"memory.max": "4000\n", "cpu.max": "250000 100000\n"}, 4000, 2.5),
        ("0::/\n", {"memory.max": "max\n", "cpu.max": "max 100000\n"}, None, None),
        ("0::/job/step\n", {"job/memory.max": "900\n", "job/step/memory.max": "max\n"}, 900, None),
        ("0::/job/step\n", {"job/memory.max": "900\n", "job/step/memory.max": "800\n"}, 800, None),
        ("0::/host/path\n", {"memory.max": "700\n"}, 700, None),
        ("5:memory:/docker/1\n4:cpu,cpuacct:/\n", {"memory/memory.limit_in_bytes": "600\n"}, 600, None),
        ("", {}, None, None),
    ],
)
def test_the_lowest_limit_of_the_group_and_those_above_it_counts(
    tmp_path: Path, own: str, files: dict[str, str], memory: int | None, cores: float | None
) -> None:
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    group = ControlGroup(tmp_path / "groups", tmp_path / "own")
    assert (group.memory_bytes, group.cores) == (memory, cores)


def test_a_machine_without_control_groups_has_no_limits(tmp_path: Path) -> None:
    group = ControlGroup(tmp_path, tmp_path / "none")
    assert (group.memory_bytes, group.cores) == (None, None)
