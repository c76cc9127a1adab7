"""What is asked of every store."""

import json
import multiprocessing
import resource
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import ModuleType

import feature_rows
import h5py
import hdf5plugin
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.files.storage import Storage
from pipeline.stores import STORES
from pipeline.stores.batch import FeatureBatch
from schemas.config import StoreConfig
from schemas.errors import IntegrityError, PipelineError, UsageError
from schemas.features import METADATA_KEY, FeatureSpec

SPEC = feature_rows.spec()


@pytest.fixture(params=list(STORES))
def store(request: pytest.FixtureRequest) -> ModuleType:
    return STORES.load(request.param)


def options(store: ModuleType, **changes: object) -> StoreConfig:
    return StoreConfig(**{"name": store.__name__.rsplit(".", 1)[-1], "row_group_rows": 4, **changes})


def written(path: Path, store: ModuleType, batches: list[FeatureBatch], **changes: object) -> Path:
    store.write(path, SPEC, options(store, **changes), batches)
    return path


def expected(batch: FeatureBatch, column: str) -> np.ndarray:
    values = batch.maps[column].copy()
    for row, status in enumerate(batch.statuses):
        if status != "ok":
            values[row] = 0
    return values


@pytest.mark.parametrize("compression", ["none", "lz4", "zstd"])
@pytest.mark.parametrize("row_group_rows", [1, 4, 32])
@pytest.mark.parametrize("verified", [False, True])
def test_what_is_written_comes_back_to_the_bit(
    tmp_path: Path, store: ModuleType, compression: str, row_group_rows: int, verified: bool
) -> None:
    batch = feature_rows.rows(11, failed=(0, 5, 10))
    path = written(tmp_path / "shard", store, [batch], compression=compression, row_group_rows=row_group_rows)

    with store.open_shard(path, verified=verified) as reader:
        assert len(reader.row_groups) == -(-11 // row_group_rows)
        assert reader.spec == SPEC
        assert reader.num_rows == 11
        assert reader.image_ids() == batch.image_ids
        assert reader.statuses() == batch.statuses
        assert reader.errors() == batch.errors
        for column in batch.maps:
            found = reader.read(range(11), column)
            assert found.dtype == np.dtype("<f2")
            assert found.tobytes() == expected(batch, column).tobytes()


def test_any_range_of_rows_can_be_read(tmp_path: Path, store: ModuleType) -> None:
    batch = feature_rows.rows(11, failed=(2, 6))
    path = written(tmp_path / "shard", store, [batch])
    everything = expected(batch, "grid")

    with store.open_shard(path) as reader:
        for start in range(11):
            for stop in range(start, 12):
                found = reader.read(range(start, stop), "grid")
                assert np.array_equal(found, everything[start:stop])


def test_row_groups_cover_all_rows_in_order(tmp_path: Path, store: ModuleType) -> None:
    path = written(tmp_path / "shard", store, [feature_rows.rows(45)])

    with store.open_shard(path) as reader:
        assert [row for group in reader.row_groups for row in group] == list(range(45))
        assert len(reader.row_groups) > 1


def test_bytes_do_not_depend_on_how_rows_come_in(tmp_path: Path, store: ModuleType) -> None:
    whole = feature_rows.rows(11, failed=(3,))
    cuts = [slice(0, 1), slice(1, 1), slice(1, 9), slice(9, 11)]

    one = written(tmp_path / "one", store, [whole])
    many = written(tmp_path / "many", store, [whole.rows(cut) for cut in cuts])

    assert one.read_bytes() == many.read_bytes()


def test_numbers_of_failed_images_leave_no_trace(tmp_path: Path, store: ModuleType) -> None:
    batch = feature_rows.rows(6, failed=(1, 4))
    other = feature_rows.rows(6, failed=(1, 4))
    for values in other.maps.values():
        values[[1, 4]] = np.nan

    assert written(tmp_path / "a", store, [batch]).read_bytes() == written(tmp_path / "b", store, [other]).read_bytes()


def test_rows_are_taken_as_they_come_a_group_at_a_time(tmp_path: Path, store: ModuleType) -> None:
    taken: list[int] = []

    def batches() -> Iterator[FeatureBatch]:
        for start in range(0, 200, 2):
            taken.append((tmp_path / "shard").stat().st_size if start > 150 else 0)
            yield feature_rows.rows(2, start=start)

    store.write(tmp_path / "shard", SPEC, options(store, compression="none"), batches())

    assert taken[-1] > 0  # most of the shard was on disk before the last rows came


def test_an_empty_shard_and_one_of_failures_only_can_be_read(tmp_path: Path, store: ModuleType) -> None:
    for name, batches in {"empty": [], "failed": [feature_rows.rows(3, failed=(0, 1, 2))]}.items():
        path = written(tmp_path / name, store, batches)
        with store.open_shard(path) as reader:
            num_rows = 3 * len(batches)
            assert reader.num_rows == num_rows
            assert reader.spec == SPEC
            assert len(reader.image_ids()) == len(reader.errors()) == num_rows
            assert not reader.read(range(num_rows), "grid").any()


def test_float32_maps_are_kept_as_such(tmp_path: Path, store: ModuleType) -> None:
    spec, batch = feature_rows.spec("float32"), feature_rows.rows(3, dtype="float32")
    store.write(tmp_path / "shard", spec, options(store), [batch])

    with store.open_shard(tmp_path / "shard") as reader:
        assert reader.read(range(3), "whole").tobytes() == batch.maps["whole"].tobytes()


def test_every_byte_of_the_maps_is_guarded(tmp_path: Path, store: ModuleType) -> None:
    batch = feature_rows.rows(9, failed=(4,))
    path = written(tmp_path / "shard", store, [batch], compression="none")
    whole = path.read_bytes()
    for row in (0, 3, 8):
        for column, values in batch.maps.items():
            at = whole.index(values[row].tobytes())
            for position in (at, at + values[row].nbytes // 2, at + values[row].nbytes - 1):
                damaged = bytearray(whole)
                damaged[position] ^= 1
                path.write_bytes(damaged)
                with pytest.raises(IntegrityError, match=str(path)), store.open_shard(path) as reader:
                    reader.read(range(9), column)


def test_a_changed_byte_anywhere_is_an_integrity_error_or_harmless(tmp_path: Path, store: ModuleType) -> None:
    batch = feature_rows.rows(5, failed=(1,))
    path = written(tmp_path / "shard", store, [batch])
    whole = path.read_bytes()
    noticed = 0
    for position in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[position] ^= 0x55
        path.write_bytes(damaged)
        try:
            with store.open_shard(path) as reader:
                assert len(reader.statuses()) == len(reader.image_ids()) == len(reader.errors())
                reader.read(range(reader.num_rows), "grid")
        except IntegrityError as error:
            noticed += str(path) in str(error)

    assert noticed > len(whole) // 3 // 2


def test_a_cut_shard_an_empty_file_and_a_missing_one_name_the_file(tmp_path: Path, store: ModuleType) -> None:
    path = written(tmp_path / "shard", store, [feature_rows.rows(9)])
    whole = path.read_bytes()
    for length in (len(whole) - 1, len(whole) // 2, 10, 0):
        path.write_bytes(whole[:length])
        with pytest.raises(IntegrityError, match=f"{path}: got a file that cannot be read"), store.open_shard(path):
            pass
    path.unlink()
    with pytest.raises(IntegrityError, match=str(path)), store.open_shard(path):
        pass


def test_a_file_of_the_format_that_is_no_feature_shard_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "shard.parquet")
    with h5py.File(tmp_path / "shard.h5", "w") as file:
        file["a"] = 1

    for name in STORES:
        module = STORES.load(name)
        with pytest.raises(IntegrityError), module.open_shard(tmp_path / f"shard{module.SUFFIX}"):
            pass


def test_both_stores_hold_equal_bits(tmp_path: Path) -> None:
    batch = feature_rows.rows(9, failed=(2,))
    found = []
    for name in STORES:
        module = STORES.load(name)
        path = written(tmp_path / name, module, [batch])
        with module.open_shard(path) as reader:
            maps = [reader.read(range(9), column).tobytes() for column in batch.maps]
            found.append((reader.spec, reader.image_ids(), reader.statuses(), reader.errors(), maps))

    assert found[0] == found[1]


def test_the_parquet_file_is_as_the_contract_says(tmp_path: Path) -> None:
    path = written(tmp_path / "shard.parquet", STORES.load("parquet"), [feature_rows.rows(9, failed=(2,))])

    with pq.ParquetFile(path) as file:
        schema, metadata = file.schema_arrow, file.metadata
        table = file.read()

    assert {field.name: field.type for field in schema} == {
        "image_id": pa.string(),
        "status": pa.string(),
        "error": pa.string(),
        "grid": pa.binary(3 * 2 * 5 * 2),
        "whole": pa.binary(7 * 2),
    }
    assert FeatureSpec(**json.loads(schema.metadata[METADATA_KEY.encode()])) == SPEC
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [4, 4, 1]
    columns = [metadata.row_group(0).column(column) for column in range(5)]
    assert all(one.compression == "ZSTD" for one in columns)
    assert not any(one.has_dictionary_page or one.is_stats_set for one in columns)
    assert table["grid"].to_pylist()[2] is None
    assert table["grid"].null_count == table["whole"].null_count == 1


def test_the_hdf5_file_is_as_the_contract_says(tmp_path: Path) -> None:
    path = written(tmp_path / "shard.h5", STORES.load("hdf5"), [feature_rows.rows(9, failed=(2,))])

    with h5py.File(path) as file:
        assert set(file) == {"image_id", "status", "error", "grid", "whole"}
        assert FeatureSpec(**json.loads(file.attrs[METADATA_KEY])) == SPEC
        assert file["grid"].shape == (9, 3, 2, 5)
        assert file["grid"].chunks == (1, 3, 2, 5)
        assert file["whole"].chunks == (1, 7)
        assert all(one.fletcher32 for one in file.values())
        assert str(hdf5plugin.Zstd.filter_id) in file["grid"]._filters
        assert file["grid"].id.get_num_chunks() == 8  # none for the image that failed
        assert file["status"].asstr()[2] == "decode_error"


def test_the_example_of_each_store_reads_the_good_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = feature_rows.rows(5, failed=(1,))
    monkeypatch.chdir(tmp_path)
    for name in STORES:
        module = STORES.load(name)
        written(tmp_path / f"shard-00000{module.SUFFIX}", module, [batch])
        for one in SPEC.maps:
            lines = module.example(one)
            scope: dict[str, np.ndarray] = {}
            exec(lines, scope)
            assert len(lines.splitlines()) == 3
            assert np.array_equal(scope[one.column], np.delete(batch.maps[one.column], 1, axis=0))


def test_a_disk_without_room_is_an_error_and_leaves_nothing(tmp_path: Path, store: ModuleType) -> None:
    name = options(store).name
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as processes:  # the limit is a process's own
        written = processes.submit(_write_within, 40_000, tmp_path, name)
        with pytest.raises(PipelineError, match=r"reached: cannot write .*shard\..*Free space, run the same command"):
            written.result()
    assert not any(tmp_path.iterdir())


def _write_within(limit_bytes: int, folder: Path, name: str) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
    store = STORES.load(name)
    batches = [feature_rows.rows(40, start=start) for start in range(0, 800, 40)]
    with Storage(str(folder)).commit(f"shard{store.SUFFIX}") as path:
        store.write(path, SPEC, options(store, compression="none"), batches)


def test_an_unknown_store_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown store 'parket'. Did you mean 'parquet'"):
        STORES.load("parket")
