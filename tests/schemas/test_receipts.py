"""What receipts add up to."""

from collections import Counter

from schemas.receipts import FileReceipt, Receipt, Totals, totals


def receipt(shard: int | None, rows: int, *, pruned: bool = False, **counts: int) -> Receipt:
    table = FileReceipt(path="shard.parquet", size_bytes=100, sha256="")
    data = FileReceipt(path="shard.bin", size_bytes=1000, sha256="", pruned=pruned)
    return Receipt(
        stage="download", shard=shard, fingerprint="", content="", files=(table, data), rows=rows, counts=counts,
        facts={}, started_at=0.0, seconds=1.5, versions={},
    )  # fmt: skip


def test_rows_are_those_of_the_shards_and_dropped_files_have_no_size() -> None:
    given = [receipt(None, 7), receipt(0, 2, ok=2), receipt(1, 3, pruned=True, ok=1, timeout=2)]
    assert totals(given) == Totals(
        shards=2, rows=5, size_bytes=2300, seconds=4.5, pruned=1, counts=Counter(ok=3, timeout=2)
    )


def test_the_rows_of_a_stage_without_shards_are_those_of_its_one_receipt() -> None:
    assert totals([receipt(None, 7)]) == Totals(0, 7, 1100, 1.5, 0, Counter())
