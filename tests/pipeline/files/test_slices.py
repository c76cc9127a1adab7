"""Several writers in a work folder: beside each other for other shards, else one after the other."""

from pathlib import Path

import pytest

from pipeline.files.lock import writing
from pipeline.files.slices import forget_slices, slices, writing_shards
from pipeline.files.storage import Storage
from schemas.errors import HeldFolderError


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "demo"))


def test_writers_of_other_shards_go_beside_each_other(storage: Storage) -> None:
    with writing_shards(storage, range(4)), writing_shards(storage, range(4, 8)), writing_shards(storage, range(9, 10)):
        assert [(some.text, some.writer.alive) for some in slices(storage)] == [
            ("0:4", True),
            ("4:8", True),
            ("9:10", True),
        ]
    assert slices(storage) == []


@pytest.mark.parametrize(("shards", "overlaps"), [(range(2, 6), True), (range(4), False), (range(1, 2), True)])
def test_shards_that_another_writes_are_refused_by_name(storage: Storage, shards: range, overlaps: bool) -> None:
    told = rf"shards 0:4 of {storage.root} are being written by process \d+ on \S+ since .*take other shards"
    with writing_shards(storage, range(4)):
        with pytest.raises(HeldFolderError, match=told) as refused, writing_shards(storage, shards):
            pass
        assert (f"and {shards.start}:{shards.stop} overlap them" in str(refused.value)) is overlaps
        with writing_shards(storage, range(4, 5)):
            pass
    with writing_shards(storage, shards):  # the refused one left nothing held, and neither did the other
        pass


def test_a_writer_of_all_and_those_of_some_keep_off_each_other(storage: Storage) -> None:
    with writing(storage), pytest.raises(HeldFolderError, match="is being written by process"):  # noqa: SIM117
        with writing_shards(storage, range(4)):
            pass
    told = r"is being written by process \d+ on \S+ since"
    with writing_shards(storage, range(4)), pytest.raises(HeldFolderError, match=told):  # noqa: SIM117
        with writing(storage):
            pass
    with writing(storage):
        forget_slices(storage)
    assert [path.name for path in Path(storage.root).iterdir()] == [".lock"]


def test_an_error_of_the_work_is_told_as_it_is(storage: Storage) -> None:
    with pytest.raises(HeldFolderError, match=r"^elsewhere$"), writing_shards(storage, range(4)):
        raise HeldFolderError("elsewhere")
