"""Verification of a folder: a flipped bit anywhere is found, in both stores, made here or converted."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_work import Recipe, SmallWork, make
from stage_tasks import outputs

from pipeline.batches.shards import open_features
from pipeline.commands.verify import verify
from pipeline.conversion.store import StoreCopy
from pipeline.engine.ledger import Ledger, file_receipt
from pipeline.engine.sources import Sources
from pipeline.files import own_hash
from pipeline.files.storage import Storage, version_of
from pipeline.files.tables import read_hashed_table, write_hashed_table
from schemas.config import StoreConfig
from schemas.errors import IntegrityError

OTHER = {"parquet": "hdf5", "hdf5": "parquet"}


def converted(work: SmallWork) -> SmallWork:
    """The same features in the other store; all folders have receipts, and these two a stage record, as after a run."""
    storage, features = Storage(work.root), open_features(work.left())
    copied = replace(work.recipe, store=OTHER[work.recipe.store])
    here, there = (Ledger(storage, "extract", made.folders["extract"], "stage") for made in (work.recipe, copied))
    files = outputs("extract", there.folder, copied.store)
    copy = StoreCopy(features, StoreConfig(name=copied.store, row_group_rows=4), there, files)
    receipts = tuple(copy.make(receipt) for receipt in work.receipts["extract"])
    for stage, written in work.receipts.items():
        for receipt in written:
            Ledger(storage, stage, work.recipe.folders[stage], "stage").write(receipt)
    here.write_record({}, work.receipts["extract"])
    there.write_record({}, receipts)
    return replace(work, recipe=copied, receipts=work.receipts | {"extract": receipts})


def flipped(path: Path) -> Iterator[None]:
    """The file with one bit changed: near its ends (magic bytes, superblock, footer) and anywhere; whole afterwards."""
    whole = path.read_bytes()
    ends = [*range(10), *range(len(whole) - 10, len(whole))]
    for position in [*ends, *np.random.default_rng(0).integers(0, len(whole), 30).tolist()]:
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        yield
    path.write_bytes(whole)


def read_first(work: SmallWork) -> None:
    features, first = open_features(work.left()).reading(["region"]), np.zeros(1, np.int32)
    features.read(first, first, features.maps)


@pytest.mark.parametrize("store", list(OTHER))
def test_one_flipped_bit_is_found_and_refused_in_both_stores_made_here_or_converted(tmp_path: Path, store: str) -> None:
    made = make(tmp_path, Recipe(store=store, shards=1, shard_images=8))
    copied = converted(made)
    storage = Storage(made.root)
    assert (verify(storage).files, verify(storage).problems) == (11, ())

    for work in (made, copied):
        path = storage.local(work.receipts["extract"][0].files[0].path)
        for _ in flipped(path):
            (problem,) = verify(storage).problems
            assert problem.startswith(f"{path}: sha256 ")
            with pytest.raises(IntegrityError, match=path.name):
                read_first(work)
    assert verify(storage).problems == ()
    read_first(copied)


def test_what_is_gone_or_cannot_be_read_is_told_like_what_has_changed(tmp_path: Path) -> None:
    made = make(tmp_path, Recipe(shards=2, shard_images=4))
    copied = converted(made)
    storage = Storage(made.root)
    gone, unreadable = (storage.local(one.receipts["extract"][0].files[0].path) for one in (copied, made))
    gone.unlink()
    unreadable.unlink()
    unreadable.mkdir()

    assert verify(storage).problems == (f"{gone}: gone", f"{unreadable}: cannot be read (Is a directory)")


def test_a_shard_that_no_receipt_names_is_told(tmp_path: Path) -> None:
    made = make(tmp_path, Recipe(shards=2, shard_images=4))
    converted(made)
    storage = Storage(made.root)
    first, second = (storage.local(one.files[0].path) for one in made.receipts["extract"][:2])
    for path in (second.with_suffix(".json"), second.with_name("stage.parquet")):
        path.unlink()
    first.with_name(".shard-00002.parquet.0.tmp").touch()  # of a writer at work

    found = verify(storage)
    assert (found.files, found.problems) == (16, ())
    assert [storage.local(path) for path in found.uncommitted] == [second]


def test_files_with_a_hash_of_their_own_are_compared_and_those_without_are_told(tmp_path: Path) -> None:
    made = make(tmp_path, Recipe(shards=1, shard_images=4))
    converted(made)
    storage = Storage(made.root)
    kept = "runs/small/checkpoint"
    storage.write(kept, own_hash.filled(f"a position, {own_hash.BLANK}".encode(), kept))
    storage.write("runs/small/train.log", b"")
    whole = verify(storage)
    assert (whole.problems, whole.unhashed) == ((), ("runs/small/train.log",))

    storage.write(kept, storage.read(kept).replace(b"a position", b"b position"))
    assert verify(storage).problems == (f"{storage.shown(kept)}: its bytes are not those of the hash in it",)
    storage.write(kept, b"")
    assert verify(storage).problems == (f"{storage.shown(kept)}: all its bytes are lost",)


def test_a_record_of_before_there_were_several_pages_names_the_one(tmp_path: Path) -> None:
    made = make(tmp_path, Recipe(shards=1, shard_images=4)).written_down("extract")
    folder, storage = made.recipe.folders["extract"], Storage(made.root)
    storage.write(f"{folder}/README.md", b"8 of 8 images")
    ledger, page = Ledger(storage, "extract", folder, "stage"), file_receipt(storage, f"{folder}/README.md")
    table = read_hashed_table(storage, ledger.record_path)
    assert table is not None
    metadata = {**table.schema.metadata, b"biam_pipe.page": page.model_dump_json()}
    write_hashed_table(storage, ledger.record_path, table.replace_schema_metadata(metadata))
    record = ledger.read_record()
    assert record is not None
    assert record.pages == (page,)


@pytest.mark.parametrize("damage", ["changed", "emptied", "of another folder", "gone"])
def test_a_page_about_a_stage_is_compared_with_the_stage_record(tmp_path: Path, damage: str) -> None:
    made = make(tmp_path, Recipe(shards=1, shard_images=4))
    folder, storage = made.recipe.folders["extract"], Storage(made.root)
    page, ledger = f"{folder}/README.md", Ledger(storage, "extract", folder, "stage")
    storage.write(page, b"8 of 8 images")
    for receipt in made.receipts["extract"]:
        ledger.write(receipt)
    ledger.write_record({}, made.receipts["extract"], [page])
    whole = verify(storage)
    assert not [problem for problem in whole.problems if "README" in problem]
    assert page not in whole.unhashed

    if damage == "gone":
        storage.remove(page)
    else:
        storage.write(
            page, {"changed": b"9 of 8 images", "emptied": b"", "of another folder": b"7 of 7 images"}[damage]
        )
    (problem,) = (problem for problem in verify(storage).problems if "README" in problem)
    assert problem.startswith(f"{storage.shown(page)}: " + ("gone" if damage == "gone" else "sha256"))


def test_files_from_outside_are_compared_with_what_was_read_of_them(tmp_path: Path) -> None:
    work = converted(make(tmp_path / "work", Recipe(shards=1, shard_images=8)))
    storage, paths = Storage(work.root), [tmp_path / name for name in ("whole", "silent", "edited", "gone")]
    for path in paths:
        path.write_bytes(b"cat")
    sources = Sources(storage)
    sources.hashes(map(str, paths))
    _, silent, edited, gone = paths
    silent.write_bytes(b"dog")
    sources._known[str(silent)] |= version_of(silent)  # as of a file system whose times nobody can trust
    edited.write_bytes(b"a dog")
    gone.unlink()
    sources.save()

    found = verify(storage)

    assert [text.split(", ")[1:] for text in found.problems] == [
        ["77af778b51abd4a3... when it was read", "under the same size", "times and inode"]
    ]
    assert found.problems[0].startswith(f"{silent}: sha256 cd6357efdd966de8...")
    assert found.outside == (
        f"{edited}: another version than the one that was read; plan tells what that means",
        f"{gone}: cannot be compared with what was read (No such file or directory)",
    )
