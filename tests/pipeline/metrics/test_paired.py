from io import BytesIO
from zipfile import ZipFile

import numpy as np
import pytest

from pipeline.metrics.paired import Replicates, difference, interval, pairing

FIGURE = "zsl/map"


def run(*values, shared="a", figure=FIGURE):
    return Replicates(shared, {figure: np.array(values, np.float32)})


def test_an_interval_holds_the_middle_of_the_replicates():
    found = interval(np.arange(1001, dtype=np.float32))
    assert (found.low, found.high) == (25, 975)


@pytest.mark.parametrize(
    ("better", "excludes"), [((0.5, 0.75), True), ((-0.75, -0.5), True), ((-0.5, 0.75), False), ((-0.01, 0.5), True)]
)
def test_a_difference_is_taken_in_each_replicate_and_excludes_zero_or_not(better, excludes):
    base = np.linspace(0, 1, 41)
    ours = base + np.linspace(*better, 41)
    found = difference([run(*ours)], [run(*base)], FIGURE)
    assert (found.low, found.high) == pytest.approx(np.percentile(np.linspace(*better, 41), [2.5, 97.5]), abs=1e-6)
    assert found.excludes_zero == excludes


def test_runs_of_a_row_are_averaged_first():
    ours, theirs = [run(0.2, 0.4), run(0.4, 0.8)], [run(0.1, 0.1), run(0.2, 0.2), run(0.3, 0.3)]
    found = difference(ours, theirs, FIGURE)
    assert (found.low, found.high) == pytest.approx((0.1 + 0.025 * 0.3, 0.4 - 0.025 * 0.3))


@pytest.mark.parametrize(
    "other",
    [[], [run(0.1, 0.2, shared="b")], [run(0.1)], [run(0.1, 0.2, figure="zsl/f1@3")], [run(0.1, 0.2), run(0.1)]],
)
def test_what_was_not_counted_over_the_same_images_is_not_paired(other):
    row = [run(0.1, 0.2)]
    assert difference(row, row, FIGURE) is not None
    assert difference(row, other, FIGURE) is None
    assert difference(other, row, FIGURE) is None
    assert difference(other, other, "gzsl/map") is None


def test_a_file_holds_what_was_put_in_and_no_date():
    replicates = Replicates("ab" * 32, {FIGURE: np.array([0.1, 0.2], np.float32), "gzsl/standardised/f1@3": np.ones(2)})
    data = replicates.as_bytes()
    found = Replicates.of(data)
    assert found.pairing == replicates.pairing
    assert {name: values.tolist() for name, values in found.figures.items()} == {
        name: values.tolist() for name, values in replicates.figures.items()
    }
    assert {member.date_time[:3] for member in ZipFile(BytesIO(data)).infolist()} == {(1980, 1, 1)}


def test_a_pairing_is_that_of_images_labels_roles_codes_protocol_and_ks():
    codes = np.array([[1, -1], [0, 1]], np.int8)
    same = {
        "image_ids": ["1", "2"],
        "labels": {"seen": ["a"], "unseen": ["b"]},
        "codes": codes,
        "protocol": "nuswide",
        "ks": (3,),
    }
    others = {
        "image_ids": ["2", "1"],
        "labels": {"seen": ["a", "b"], "unseen": []},
        "codes": codes.T,
        "protocol": "openimages",
        "ks": (3, 5),
    }
    assert pairing(**same) == pairing(**same | {"codes": codes.T.copy().T})
    assert len({pairing(**same)} | {pairing(**same | {name: other}) for name, other in others.items()}) == 6
