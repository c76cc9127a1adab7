"""How a plan words what differs between two recipes."""

from typing import Any

from pipeline.engine.fingerprint import explain

ONE, OTHER = "1" * 64, "2" * 64


def document(outside: dict[str, Any], **settings: Any) -> dict[str, Any]:
    return {"version": 1, "settings": settings, "outside": outside, "upstream": {"index": ONE}}


def test_another_list_of_images_is_told_once_by_the_setting_that_names_it() -> None:
    before = document({"dataset.labels": "a.csv", "/data/a.csv": ONE, "files": ONE})
    after = document({"dataset.labels": "b.csv", "/data/b.csv": OTHER, "files": OTHER})
    assert explain(before, after) == ["dataset.labels a.csv -> b.csv"]


def test_other_bytes_under_the_same_name_are_told_beside_a_setting() -> None:
    before = document({"dataset.limit": 3, "/data/a.csv": ONE, "files": ONE})
    after = document({"dataset.limit": 5, "/data/a.csv": OTHER, "files": OTHER})
    assert explain(before, after) == ["/data/a.csv changed", "dataset.limit 3 -> 5"]


def test_what_no_setting_explains_is_told_by_name() -> None:
    assert explain(document({"files": ONE}), document({"files": OTHER})) == ["files changed"]
    before, after = document({"/data/a.csv": ONE, "files": ONE}), document({"/data/b.csv": ONE, "files": ONE})
    assert explain(before, after) == ["/data/a.csv is gone", "/data/b.csv is new"]


def test_settings_are_all_told_hashes_by_name_alone() -> None:
    before, after = document({}, lr=1, weights=ONE), document({}, lr=2, weights=OTHER)
    assert explain(before, after) == ["lr 1 -> 2", "weights changed"]


def test_a_setting_that_there_was_not_is_told_as_new() -> None:
    assert explain(document({}), document({}, by="bytes")) == ["by is new: bytes"]
    assert explain(document({}, by=None), document({}, by="bytes")) == ["by null -> bytes"]


def test_stages_before_are_named_where_nothing_nearer_differs() -> None:
    after = document({}) | {"upstream": {"index": OTHER}}
    assert explain(document({}), after) == ["after index"]
    assert explain(document({}, lr=1), after | {"settings": {"lr": 2}}) == ["lr 1 -> 2"]
