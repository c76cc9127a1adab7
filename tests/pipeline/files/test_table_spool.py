"""Rows put aside come back by number, whatever the batches they came in."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.files import table_spool
from pipeline.files.table_spool import open_table_spool
from pipeline.machine.telling import heard_by

SCHEMA = pa.schema([("name", pa.string()), ("marks", pa.list_(pa.int32()))])
TABLE = pa.table({"name": [f"n{n}" for n in range(23)], "marks": [[n] * (n % 3) for n in range(23)]}, schema=SCHEMA)


@pytest.mark.parametrize("wanted", [[], [0], [22], [22, 0, 7, 8, 9, 21], list(range(23)), list(range(22, -1, -1))])
def test_rows_come_in_the_order_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: list[int]) -> None:
    monkeypatch.setattr(table_spool, "_BATCH_ROWS", 4)
    tables = (TABLE.slice(0, 9), TABLE.slice(9, 0), TABLE.slice(9, 1), TABLE.slice(10))
    with open_table_spool(tmp_path, iter(tables), SCHEMA) as spool:
        assert len(spool) == 23
        assert spool.rows(np.array(wanted, dtype=np.int64)).to_pylist() == [TABLE.to_pylist()[n] for n in wanted]
        assert pa.chunked_array(list(spool.column("name"))).to_pylist() == TABLE["name"].to_pylist()


def test_nothing_is_left_behind_even_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), open_table_spool(tmp_path / "new", iter([TABLE]), SCHEMA) as spool:
        assert len(spool) // 0
    with open_table_spool(tmp_path / "new", iter([]), SCHEMA) as spool:
        assert len(spool) == 0

    assert list((tmp_path / "new").iterdir()) == []


def test_rows_are_told_as_they_come(tmp_path: Path) -> None:
    told = []
    with heard_by(lambda *words: told.append(words)), open_table_spool(tmp_path, iter([TABLE, TABLE]), SCHEMA):
        assert told == [(23, None, "23 rows read"), (46, None, "46 rows read")]
