"""What `status` says of a stage, from its receipts alone."""

from pipeline.commands.console import status_lines
from pipeline.commands.status import WorkStatus, line
from schemas.receipts import NOTE, Receipt


def receipt(shard: int | None, started_at: float, seconds: float, **facts: int) -> Receipt:
    return Receipt(
        stage="download", shard=shard, fingerprint="", content="", files=(), rows=100, counts={"ok": 90, "timeout": 10},
        facts=facts, started_at=started_at, seconds=seconds, versions={},
    )  # fmt: skip


def test_speed_counts_the_time_in_which_something_was_under_way() -> None:
    told = line("download", [receipt(0, 10.0, 4.0, bytes=600), receipt(1, 12.0, 4.0, bytes=600)], expected=5)
    assert (told.images_per_s, told.bytes_per_s, told.left_s, told.seconds) == (33.3, 200, 9.0, 8.0)
    assert told.counts == {"ok": 180, "timeout": 20}


def test_a_pause_between_two_runs_does_not_slow_a_stage_down() -> None:
    told = line("download", [receipt(0, 0.0, 2.0), receipt(1, 10_000.0, 2.0)], expected=2)
    assert (told.images_per_s, told.bytes_per_s, told.left_s) == (50.0, None, None)


def test_what_a_receipt_notes_is_told() -> None:
    noted = receipt(None, 0.0, 2.0).model_copy(update={"facts": {NOTE: "two of a kind"}})
    told = line("evaluate", [noted])
    assert told.notes == ("two of a kind",)
    assert list(status_lines(WorkStatus((told,), None)))[-1] == "WARNING: two of a kind"


def test_a_stage_without_shards_has_no_speed() -> None:
    told = line("train", [receipt(None, 0.0, 2.0)])
    assert (told.images_per_s, told.bytes_per_s, told.left_s) == (None, None, None)


def test_a_rate_below_one_image_a_second_is_no_zero() -> None:
    slow = line("extract", [receipt(0, 0.0, 3000.0, bytes=30_000)], expected=2)
    assert (slow.images_per_s, slow.left_s) == (0.0333, 3000.0)
    assert line("extract", [receipt(0, 0.0, 90.0)], expected=2).images_per_s == 1.11
