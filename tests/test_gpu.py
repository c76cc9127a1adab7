"""The benchmark for a GPU: small, every line of it runs without one; and it knows each branch that waits for CUDA."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.on_gpu.checks import CHECKS

ROOT = Path(__file__).resolve().parents[1]
ELSEWHERE = {"schemas.config:_decoding_has_a_device", "dags.units.job:job"}  # they judge a text and need no GPU


def branches() -> Iterator[str]:
    """Functions of the product, as module:name, that ask whether a device is CUDA or speak to it."""
    for folder in ("pipeline", "schemas", "dags"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(function, ast.FunctionDef) and any(map(speaks_of_cuda, conditions(function))):
                    yield f"{module}:{function.name}"


def conditions(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """What a function does, less its docstring and texts for people."""
    for statement in function.body:
        if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            yield from ast.walk(statement)


def speaks_of_cuda(node: ast.AST) -> bool:
    """`device.type == "cuda"`, `name.startswith("cuda")`, `tensor.is_cuda`, `torch.cuda...`."""
    if isinstance(node, ast.Attribute):
        return node.attr in ("cuda", "is_cuda")
    return isinstance(node, ast.Constant) and node.value == "cuda"


def test_every_branch_for_cuda_is_gone_through_by_a_check() -> None:
    covered = {function for check in CHECKS for function in check.covers}
    assert covered == {*branches()} - ELSEWHERE


def test_every_line_runs_on_a_cpu() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--rehearse"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    names = [check.name for check in CHECKS]
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [row[0].removeprefix("| ") for row in rows if row[0].removeprefix("| ") in names] == names
    assert not [row for row in rows if "fails" in row[1]]
