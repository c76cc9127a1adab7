"""Options that all commands have stand where people type them."""

import pytest

from pipeline.settings.options import rearranged


@pytest.mark.parametrize(
    ("typed", "heard"),
    [
        ("run --dataset demo", "run --dataset demo"),
        ("--dataset demo run --json", "run --json --dataset demo"),
        ("--dataset=demo -q --set a.b=1 run", "run --dataset=demo -q --set a.b=1"),
        ("-qv status", "status -qv"),
        ("--work w runs --json diff a b", "runs diff a b --work w --json"),
        ("--dataset demo show config", "show config --dataset demo"),
        ("--json predict -- --odd.jpg", "predict --json -- --odd.jpg"),
        ("--version", "--version"),
        ("--dataset", "--dataset"),
        ("--no-such run", "--no-such run"),
        ("", ""),
    ],
)
def test_they_may_stand_before_the_verb(typed: str, heard: str) -> None:
    assert rearranged(typed.split(), ("show", "runs")) == heard.split()
