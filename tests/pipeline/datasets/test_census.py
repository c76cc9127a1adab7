"""How many images bear each label, by its role."""

from pipeline.datasets.census import census, sentences
from pipeline.datasets.label import Label
from schemas.status import LabelRole

SEEN = [Label(name, name, LabelRole.SEEN) for name in ("cat", "dog", "cow")]
UNSEEN = [Label(name, name, LabelRole.UNSEEN) for name in ("zebra", "yak")]


def test_labels_are_counted_by_their_role() -> None:
    assert census([*SEEN, *UNSEEN], {"cat": 7, "dog": 4, "cow": 9, "yak": 1}) == {
        "seen": {"labels": 3, "least": 4, "median": 7, "most": 9, "on_none": 0, "on_few": 1, "rarest": {"dog": 4}},
        "unseen": {
            "labels": 2, "least": 0, "median": 0, "most": 1, "on_none": 1, "on_few": 1,
            "rarest": {"zebra": 0, "yak": 1},
        },
    }  # fmt: skip
    assert census(SEEN, {}).keys() == {"seen"}
    assert census([], {}) == {}


def test_what_is_rare_is_told_and_what_is_not_is_not() -> None:
    found = census([*SEEN, *UNSEEN], {"cat": 7_000, "dog": 6, "cow": 9, "yak": 1})
    rare = (
        "2 unseen labels on 0 to 1 images each, median 0; 1 on no image and 1 on fewer than 5: 'zebra' (0), 'yak' (1)"
    )
    assert list(sentences(found)) == ["3 seen labels on 6 to 7,000 images each, median 9", rare]
    assert list(sentences(found, rare_only=True)) == [rare]


def test_of_many_rare_labels_the_rarest_are_named() -> None:
    many = [Label(str(number), str(number), LabelRole.SEEN) for number in range(9)]
    (told,) = sentences(census(many, {"0": 3}))
    assert told.endswith("; 8 on no image and 1 on fewer than 5: '1' (0), '2' (0), '3' (0), '4' (0), '5' (0), ...")
