import errno
import os
from functools import partial

import numpy as np
import pytest

from pipeline.metrics import PROTOCOLS, classwise, openimages_biam, score_table, topk
from pipeline.metrics.computing import Computing, sorted_rows
from pipeline.metrics.protocols import Baselines, evaluate
from pipeline.metrics.score_table import ScoreTable, open_score_table
from schemas.errors import PipelineError


def drawn(num_images=50, num_labels=21, known=1.0):
    generator = np.random.default_rng(0)
    codes = np.where(generator.random((num_images, num_labels)) < 0.3, 1, -1).astype(np.int8)
    codes[generator.random(codes.shape) >= known] = 0
    return (codes + generator.standard_normal(codes.shape)).astype(np.float32), codes


def put(table, scores, codes, batch=7):
    for start in range(0, len(scores), batch):
        table.append(scores[start : start + batch], codes[start : start + batch])


@pytest.mark.parametrize("held_bytes", [1, 1000, 10**6])
@pytest.mark.parametrize("memory_bytes", [0, 10**6])
def test_a_table_gives_back_what_it_took_in(tmp_path, monkeypatch, memory_bytes, held_bytes):
    monkeypatch.setattr(score_table, "_HELD_BYTES", held_bytes)
    scores, codes = drawn()
    with open_score_table(tmp_path / "run", *scores.shape, memory_bytes) as table:
        put(table, scores, codes)
        np.testing.assert_array_equal(table.codes, codes.T)
        np.testing.assert_array_equal(table.columns(range(3, 6)), scores[:, 3:6].T)
        np.testing.assert_array_equal(table.rows(range(40, 50)), scores[40:])
        part = table.section(5)
        assert (part.num_images, part.num_labels) == (50, 16)
        np.testing.assert_array_equal(part.codes, codes[:, 5:].T)
        np.testing.assert_array_equal(part.columns(range(1, 3)), scores[:, 6:8].T)
        np.testing.assert_array_equal(part.rows(range(2)), scores[:2, 5:])
        assert part.section(2).columns(range(1))[0].tolist() == scores[:, 7].tolist()
    assert list(tmp_path.rglob("*")) == ([] if memory_bytes else [tmp_path / "run"])


@pytest.mark.parametrize("memory_bytes", [0, 10**6])
def test_scores_on_one_scale_are_those_of_the_whole_matrix_to_the_bit(tmp_path, monkeypatch, memory_bytes):
    scores, codes = drawn()
    scores[3] = 2.5  # alike
    seen = scores[:, :15].astype(np.float64)
    deviation = np.where(np.arange(50) == 3, 1, seen.std(axis=1))
    expected = ((scores - seen.mean(axis=1)[:, None]) / deviation[:, None]).astype(np.float32)
    monkeypatch.setattr(score_table, "_HELD_BYTES", 1000)
    with open_score_table(tmp_path, *scores.shape, memory_bytes) as table:
        put(table, scores, codes)
        scaled = table.standardised(15)
        np.testing.assert_array_equal(scaled.columns(range(21)), expected.T)
        np.testing.assert_array_equal(scaled.section(15).rows(range(30, 50)), expected[30:, 15:])
        np.testing.assert_array_equal(scaled.codes, codes.T)
        alike = ScoreTable.of(expected, codes).constant()
        np.testing.assert_array_equal(scaled.constant().rows(range(1)), alike.rows(range(1)))


def test_scores_on_one_scale_stay_finite_whatever_the_deviation():
    scores = np.array([[0, 1e-45, 1, -1]], np.float32)
    found = ScoreTable.of(scores, np.ones((1, 4), np.int8)).standardised(2).rows(range(1))
    assert np.isfinite(found).all()
    assert found[0].argmax() == 2


@pytest.mark.parametrize("known", [1.0, 0.4])
@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_figures_are_the_same_from_memory_and_file_by_one_thread_or_many(tmp_path, monkeypatch, protocol, known):
    scores, codes = drawn(known=known)
    baselines = Baselines(draws=3)
    plain = evaluate(protocol, "gzsl", ScoreTable.of(scores, codes), (3,), baselines, Computing(threads=1))
    monkeypatch.setattr(classwise, "_LABELS_AT_ONCE", 2)
    monkeypatch.setattr(topk, "_CELLS_READ_AT_ONCE", 100)
    monkeypatch.setattr(openimages_biam, "_HELD_BYTES", 5000)
    with open_score_table(tmp_path, *scores.shape, memory_bytes=0) as table:
        put(table, scores, codes)
        again = evaluate(protocol, "gzsl", table, (3,), baselines, Computing(threads=4))
    assert again == plain
    np.testing.assert_array_equal(again.measured.per_label, plain.measured.per_label)


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_rows_sorted_by_a_device_give_the_figures_of_numpy(protocol):
    import torch

    from pipeline.inference.scoring import sorted_by_torch, sorted_on

    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert sorted_on(cpu) is sorted_rows
    assert sorted_on(gpu).func is sorted_by_torch
    scores, codes = drawn()
    scores = np.round(scores, 1)  # with ties
    by_numpy = evaluate(protocol, "gzsl", ScoreTable.of(scores, codes), (3,), Baselines(draws=2))
    computing = Computing(sort=partial(sorted_by_torch, cpu))
    by_torch = evaluate(protocol, "gzsl", ScoreTable.of(scores, codes), (3,), Baselines(draws=2), computing)
    assert by_torch == by_numpy
    np.testing.assert_array_equal(by_torch.measured.per_label, by_numpy.measured.per_label)


def test_a_full_disk_is_named_with_what_to_do(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    scores, codes = drawn()
    with (
        pytest.raises(
            PipelineError, match=r"the disk is full: cannot put 4,200 bytes of scores aside in .*run the same"
        ),
        open_score_table(tmp_path, *scores.shape, memory_bytes=0) as table,
    ):
        put(table, scores, codes)
    assert list(tmp_path.iterdir()) == []


def test_a_short_write_is_continued(tmp_path, monkeypatch):
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: write(descriptor, data[:33], offset))
    scores, codes = drawn()
    with open_score_table(tmp_path, *scores.shape, memory_bytes=0) as table:
        put(table, scores, codes)
        np.testing.assert_array_equal(table.columns(range(21)), scores.T)
