"""Tables on disk: what is read is what was written, or it is an error; hashes tell values and nothing else."""

import contextlib
import io
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.files.storage import Storage
from pipeline.files.tables import (
    TABLE_ERRORS,
    content_hash,
    parsed_row,
    parsed_table,
    read_hashed_table,
    write_hashed_table,
    write_table,
)

KIND = pa.list_(pa.struct([("source", pa.string()), ("address", pa.string())]))
TABLE = pa.table(
    {
        "name": ["a", None, "", "dé"],
        "places": pa.array([[{"source": "x", "address": None}], None, [], [None]], KIND),
        "marks": pa.array([[1, 2], [], None, [None]], pa.list_(pa.int32())),
        "vector": pa.array([[1.0, 2.0], None, [3.0, 4.0], [5.0, 6.0]], pa.list_(pa.float32(), 2)),
        "flag": [True, False, None, True],
        "size": pa.array([1, None, 3, 4], pa.int64()),
        "data": pa.array([b"\0", b"", None, b"x"], pa.large_binary()),
        "none": pa.nulls(4),
    }
)


def parsed(data: bytes, columns: list[str] | None = None) -> pa.Table:
    return parsed_table(pa.BufferReader(data), columns)


class Recorded(io.BytesIO):
    """Bytes that remember which threads read them."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.readers: set[int] = set()

    def read(self, size: int | None = -1) -> bytes:
        self.readers.add(threading.get_ident())
        return super().read(size)


def test_no_thread_of_arrows_holds_bytes_of_a_process_that_may_be_ending(storage: Storage) -> None:
    write_table(storage, "t.parquet", TABLE)
    for parse in (parsed_table, lambda data: parsed_row(data, 0)):
        data = Recorded(storage.read("t.parquet"))
        parse(pa.PythonFile(data, mode="r"))
        assert data.readers == {threading.get_ident()}


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path))


def test_a_table_comes_back_as_it_was(storage: Storage) -> None:
    write_table(storage, "folder/t.parquet", TABLE)

    assert parsed(storage.read("folder/t.parquet")).equals(TABLE)
    assert parsed(storage.read("folder/t.parquet"), ["size", "name"]).column_names == ["size", "name"]


@pytest.mark.parametrize("columns", [["x"], ["x", "y"]])
def test_a_changed_byte_before_the_footer_never_changes_what_is_read(storage: Storage, columns: list[str]) -> None:
    numbers = pa.table({"x": [f"{n * n}" for n in range(50)], "y": [n // 7 for n in range(50)]})
    write_table(storage, "t.parquet", numbers.select(columns))
    whole = storage.read("t.parquet")
    kept = parsed(whole)
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    for place in range(4, len(whole) - footer):
        damaged = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        with contextlib.suppress(*TABLE_ERRORS):  # some bits of page headers mean nothing
            assert parsed(damaged).equals(kept)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_bytes_cut_short_are_no_table(storage: Storage, share: float) -> None:
    write_table(storage, "t.parquet", TABLE)
    whole = storage.read("t.parquet")

    with pytest.raises(TABLE_ERRORS):
        parsed(whole[: int(share * len(whole))])


def test_one_row_is_read_from_its_row_group(storage: Storage) -> None:
    numbers = pa.table({"x": list(range(50))})
    pq.write_table(numbers, storage.scratch("") / "t.parquet", row_group_size=7)
    data = storage.read("t.parquet")

    assert [parsed_row(pa.BufferReader(data), row)["x"].to_pylist() for row in (0, 6, 7, 49)] == [[0], [6], [7], [49]]
    with pytest.raises(TABLE_ERRORS, match="ends 1 rows before"):
        parsed_row(pa.BufferReader(data), 50)


def test_a_table_with_its_own_hash_is_refused_whichever_bit_is_flipped(storage: Storage) -> None:
    write_hashed_table(storage, "t.parquet", TABLE.replace_schema_metadata({"more": "said"}))
    whole, kept = storage.read("t.parquet"), read_hashed_table(storage, "t.parquet")
    assert kept is not None
    assert kept.equals(TABLE)
    assert kept.schema.metadata[b"more"] == b"said"

    for place in range(len(whole)):
        storage.write("t.parquet", whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        found = read_hashed_table(storage, "t.parquet")
        assert found is None or found.equals(kept)  # a flip in the mark itself makes it a table of the time before
    storage.write("t.parquet", whole[:-1])
    assert read_hashed_table(storage, "t.parquet") is None


def test_the_same_table_gives_the_same_bytes(storage: Storage) -> None:
    for name in ("a", "b"):
        write_table(storage, name, TABLE)

    assert storage.read("a") == storage.read("b")


def test_the_hash_ignores_chunks_slices_and_what_lies_under_nulls() -> None:
    chunked = pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1)])
    sliced = pa.concat_tables([TABLE, TABLE, TABLE]).combine_chunks().slice(4, 4)
    hidden = pa.Array.from_buffers(pa.int64(), 2, [pa.py_buffer(b"\x01"), pa.py_buffer(bytes([1] * 16))])
    plain = pa.array([hidden[0].as_py(), None], pa.int64())

    assert content_hash(chunked) == content_hash(TABLE) == content_hash(sliced)
    assert content_hash(pa.table({"x": hidden})) == content_hash(pa.table({"x": plain}))


def test_the_hash_tells_values_nulls_lengths_names_types_and_order_apart() -> None:
    tables = [
        pa.table({"x": ["ab", "c"]}),
        pa.table({"x": ["a", "bc"]}),
        pa.table({"x": ["c", "ab"]}),
        pa.table({"y": ["ab", "c"]}),
        pa.table({"x": ["ab", None, "c"]}),
        pa.table({"x": ["ab", "", "c"]}),
        pa.table({"x": pa.array(["ab", "c"], pa.large_string())}),
        pa.table({"x": [["ab"], ["c"]]}),
        pa.table({"x": [["ab", "c"], []]}),
        pa.table({"x": [["ab", "c"], None]}),
        pa.table({"x": [1, 2]}),
        pa.table({"x": [1.0, 2.0]}),
        pa.table({"x": [True, False]}),
        pa.table({"x": [False, True]}),
    ]

    assert len({content_hash(table) for table in tables}) == len(tables)
    assert content_hash(tables[0], tables[1]) != content_hash(tables[1], tables[0])
