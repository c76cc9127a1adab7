"""What an error says, as a text and as fields, and that it says the same in another process."""

import pickle

import pytest

from schemas.command import AGAIN, Command
from schemas.errors import PipelineError, problem_json

RUN = Command("extract", dataset="demo", sets={"store.name": "hdf5"})


def _classes(base: type[PipelineError]) -> list[type[PipelineError]]:
    return [base, *(inner for error in base.__subclasses__() for inner in _classes(error))]


def test_a_text_says_what_was_got_or_found_what_was_expected_and_what_to_run() -> None:
    for error, text in (
        (PipelineError("no shard"), "no shard"),
        (PipelineError("no shard", expected=1, run=RUN), f"no shard, expected 1. Run: {RUN}"),
        (PipelineError("extract is old", found="0 tasks", expected=3), "extract is old (found 0 tasks, expected 3)"),
        (
            PipelineError("a.csv, line 3:", found="no image", expected="one"),
            "a.csv, line 3: found no image, expected one",
        ),
        (PipelineError("top_k:", got=5, expected="4", hint="Use:", run=RUN), f"top_k: got 5, expected 4. Use: {RUN}"),
        (PipelineError("it is not set;", expected="a path", hint="Set it"), "it is not set; expected a path. Set it"),
        (PipelineError("it ended", hint="Run it again:", run=AGAIN), "it ended. Run it again"),
    ):
        assert str(error) == text


@pytest.mark.parametrize("kind", _classes(PipelineError), ids=lambda kind: kind.__name__)
def test_an_error_keeps_its_fields_on_its_way_between_processes(kind: type[PipelineError]) -> None:
    error = kind("what", got="this", expected="that", hint="Do it:", run=RUN)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert vars(again) == vars(error)
    assert (str(again), again.exit_code) == (str(error), kind.exit_code)


def test_the_classes_that_tell_exit_codes_are_those_of_the_tree() -> None:
    import schemas.errors

    names = {name for line in (schemas.errors.__doc__ or "").splitlines() for name in line.split() if "Error" in name}
    here = [kind for kind in _classes(PipelineError) if kind.__module__ == schemas.errors.__name__]
    assert {kind.__name__ for kind in here} == names
    others = [kind for kind in _classes(PipelineError) if kind not in here]  # caught by name in rooms of their own
    assert all(kind.exit_code == kind.__base__.exit_code for kind in others)  # type: ignore[union-attr]


def test_json_has_the_parts_of_an_error() -> None:
    assert problem_json(PipelineError("it is old", found="0 tasks", expected=3, run=RUN)) == {
        "error": f"it is old (found 0 tasks, expected 3). Run: {RUN}",
        "got": "0 tasks",
        "expected": 3,
        "next_command": "biam-pipe extract --dataset demo --set store.name=hdf5",
        "exit_code": 1,
    }
    assert set(problem_json(None).values()) == {None, 0}
