"""What a work folder holds, as the parser of Prometheus reads it."""

from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from pipeline.commands.openmetrics import text
from pipeline.commands.status import StageStatus, Totals, WorkStatus
from pipeline.files.lock import Writer

DOWNLOAD = StageStatus("download", 2, 80, 12_000, {"ok": 79, "not_found": 1}, 3.5, 22.9, 1000.0, 6.5)
TRAIN = StageStatus("train", 0, 0, 0, {}, 0.0)


def families(status: WorkStatus, dataset: str = "demo") -> dict[str, Any]:
    return {family.name: family for family in text_string_to_metric_families(text(dataset, status))}


def samples(family: Any) -> dict[tuple[str, ...], float]:
    """Values by labels other than the data set."""
    return {
        tuple(value for name, value in sorted(sample.labels.items()) if name != "dataset"): sample.value
        for sample in family.samples
    }


def test_all_that_status_tells_is_read_with_its_type_and_unit() -> None:
    writer = Writer(17, "host", "2026-11-29T07:00:00+00:00", alive=True)
    totals = Totals(images=100, done=70, failed=3, size_bytes=12_000, left_s=6.5, outdated=("train",))
    found = families(WorkStatus((DOWNLOAD, TRAIN), writer, totals=totals))

    assert {family.type for family in found.values()} == {"gauge"}
    assert {family.unit for name, family in found.items() if name.endswith("_seconds")} == {"seconds"}
    assert {sample.labels["dataset"] for family in found.values() for sample in family.samples} == {"demo"}
    assert samples(found["biam_pipe_shards"]) == {("download",): 2, ("train",): 0}
    assert samples(found["biam_pipe_status_rows"]) == {("download", "ok"): 79, ("download", "not_found"): 1}
    assert samples(found["biam_pipe_size_bytes"])["download",] == 12_000
    assert samples(found["biam_pipe_stage_left_seconds"]) == {("download",): 6.5}
    assert samples(found["biam_pipe_outdated"]) == {("download",): 0, ("train",): 1}
    assert samples(found["biam_pipe_images"]) == {("listed",): 100, ("done",): 70, ("failed",): 3}
    assert samples(found["biam_pipe_writing"]) == {("host",): 1}
    assert samples(found["biam_pipe_writer_start_timestamp_seconds"]) == {("host",): 1795935600}


def test_what_is_not_known_has_no_sample() -> None:
    found = families(WorkStatus((TRAIN,), None, unknown="labels.csv is gone"))
    assert {"biam_pipe_shards", "biam_pipe_rows", "biam_pipe_size_bytes", "biam_pipe_work_seconds"} == set(found)


def test_names_that_hold_what_the_format_gives_a_meaning_come_out_as_they_went_in() -> None:
    odd = 'a "b"\\c\nd'
    (sample,) = families(WorkStatus((TRAIN,), None), odd)["biam_pipe_shards"].samples
    assert sample.labels["dataset"] == odd
