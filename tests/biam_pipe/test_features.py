"""Features as another program sees them: rows, ids, maps; in a work folder, alone, read-only, damaged."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_work import Recipe, SmallWork, image_id, make

from biam_pipe import Features, IntegrityError, PipelineError, UsageError, open_features
from schemas.status import ImageStatus

FAILED = {3: ImageStatus.TIMEOUT, 45: ImageStatus.DECODE_ERROR}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> SmallWork:
    made = make(tmp_path_factory.mktemp("door") / "work/test", Recipe(statuses=FAILED))
    return made.written_down("index", "extract", "split")


@pytest.fixture(scope="module")
def features(work: SmallWork) -> Features:
    return open_features(work.root)


def alone(work: SmallWork, tmp_path: Path) -> Path:
    folder = tmp_path / "handed over"
    shutil.copytree(work.path("extract", "."), folder)
    return folder


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("store", ["parquet", "hdf5"])
def test_rows_come_by_number_and_by_id_with_their_maps(tmp_path: Path, store: str) -> None:
    work = make(tmp_path / "work/test", Recipe(statuses=FAILED, store=store)).written_down("extract")
    found = open_features(tmp_path / "work")
    assert (len(found), found.counts) == (60, {"ok": 58, "timeout": 1, "decode_error": 1})
    assert (found.spec, found.complete, found.path) == (work.spec, True, work.path("extract", "."))
    for row in (found[21], found[image_id(21)], found[-39], found[20:30][1]):
        assert (row.index, row.image_id, row.status, row.error) == (21, image_id(21), "ok", None)
        assert row["region"].tobytes() == row["last"].tobytes() == work.regions[21].tobytes()
        assert row.torch("global").numpy().tobytes() == work.global_features[21].tobytes()
    assert found.ids == [image_id(number) for number in range(60)]
    assert [row.image_id for row in found] == found.ids


def test_maps_of_several_rows_come_in_the_order_asked_for(work: SmallWork, features: Features) -> None:
    for rows in ([41, 2, 41, -1], slice(20, 30, 3), np.arange(60) % 7 == 6, []):
        wanted = np.arange(60)[rows] if len(np.arange(60)[rows]) else []
        found = features.numpy("region", rows)
        assert found.tobytes() == work.regions[wanted].tobytes()
        assert found.flags.writeable
    assert features.torch("whole", [7]).numpy().tobytes() == work.global_features[7].tobytes()
    assert features.ok.tolist() == [number for number in range(60) if number not in FAILED]


def test_a_failed_image_has_a_row_and_no_maps(features: Features) -> None:
    row = features[3]
    assert (row.status, row.error) == ("timeout", "broken")
    told = r"image 'folder/0003.jpg' \(row 3\) has no maps \(found timeout: broken, expected ok"
    with pytest.raises(PipelineError, match=told):
        row["region"]
    with pytest.raises(PipelineError, match=r"folder/0045.jpg.*decode_error"):
        features.numpy("global", slice(20, None))


def test_what_is_not_there_is_named(features: Features, tmp_path: Path) -> None:
    with pytest.raises(IndexError, match=r"row 60 of 60"):
        features[60]
    with pytest.raises(IndexError, match=r"rows 0 to 60 of 60"):
        features.numpy("region", [0, 60])
    with pytest.raises(KeyError, match=r"no image 'x.jpg' among the 60"):
        features["x.jpg"]
    for wrong in (1.5, [0, 1], None):
        with pytest.raises(TypeError):
            features[wrong]  # type: ignore[call-overload]
    assert ("x.jpg" in features, image_id(0) in features) == (False, True)
    with pytest.raises(PipelineError, match=r"no map 'pool5' \(found last \(region\), whole \(global\)\)"):
        features.numpy("pool5", [0])
    with pytest.raises(UsageError, match=r"no features in .*, expected a feature folder"):
        open_features(tmp_path / "nothing")
    with pytest.raises(UsageError, match=r"open_features wants a folder of this machine, got s3://bucket/x"):
        open_features("s3://bucket/x")


def test_several_features_are_listed_and_two_stores_of_the_same_are_one(work: SmallWork, tmp_path: Path) -> None:
    root = shutil.copytree(work.root, tmp_path / "test")
    first = root / "features/tiny-00000000/parquet"
    shutil.copytree(first, first.with_name("zarr"))
    shutil.copytree(first, first.with_name("hdf5"))
    (first.with_name("hdf5") / "stage.parquet").unlink()  # as a conversion under way leaves it
    assert open_features(root).path == first
    shutil.copytree(first.parent, root / "features/tiny-11111111")
    with pytest.raises(UsageError, match=r"several features in .*tiny-00000000/parquet, .*expected the path of one"):
        open_features(root)
    assert len(open_features(first)) == 60


def test_a_feature_folder_alone_is_enough_and_nothing_is_written_in_it(work: SmallWork, tmp_path: Path) -> None:
    folder = alone(work, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in [folder, *folder.iterdir()]}
    folder.chmod(0o555)
    found = pickle.loads(pickle.dumps(open_features(folder)))
    assert found.numpy("region", [50]).tobytes() == work.regions[50].tobytes()
    assert len(found.torch_dataset()) == 58
    with pytest.raises(PipelineError, match=r"labels and splits are not in .*handed over, only features"):
        found.torch_dataset(split="train")
    folder.chmod(0o755)
    assert {path: path.stat().st_mtime_ns for path in [folder, *folder.iterdir()]} == before


def test_a_damaged_shard_is_named_when_it_is_touched(work: SmallWork, tmp_path: Path) -> None:
    folder = alone(work, tmp_path)
    flip_a_bit(folder / "shard-00001.parquet")
    found = open_features(folder)
    assert found.numpy("region", [0, 59]).tobytes() == work.regions[[0, 59]].tobytes()
    told = (
        r"handed over/shard-00001.parquet is not what its receipt says: sha256 .*Remove it and run: biam-pipe extract$"
    )
    with pytest.raises(IntegrityError, match=told):
        found.numpy("region", [20])
    with pytest.raises(IntegrityError, match=r"shard-00001"):
        found.to_arrow().read_all()
    with pytest.raises(IntegrityError, match=r"shard-00001"):
        list(found.torch_dataset())


def test_receipts_and_spec_prove_a_folder_alone_as_well(work: SmallWork, tmp_path: Path) -> None:
    folder = alone(work, tmp_path)
    (folder / "stage.parquet").unlink()  # as a run leaves it that is not at its end
    text = (folder / "shard-00001.json").read_text()
    (folder / "shard-00001.json").write_text(text.replace('"rows": 20', '"rows": 19'))
    found = open_features(folder)
    assert (len(found), found.complete) == (40, False)
    flip_a_bit(folder / "spec.json")
    with pytest.raises(IntegrityError, match=r"handed over/spec.json is not what its receipt says"):
        open_features(folder)
    for receipt in folder.glob("*.json"):
        receipt.write_text("{}")
    with pytest.raises(IntegrityError, match=r"no receipt in .* can be read"):
        open_features(folder)


def test_all_of_it_goes_to_arrow_with_shapes_and_null_where_an_image_failed(
    work: SmallWork, features: Features
) -> None:
    table = features.to_arrow().read_all()
    assert table["image_id"].to_pylist() == features.ids
    assert table["status"].to_pylist() == features.statuses
    assert table["last"].null_count == table["whole"].null_count == 2
    for column, maps in (("last", work.regions), ("whole", work.global_features)):
        good = table[column].drop_null().combine_chunks()
        assert good.to_numpy_ndarray().tobytes() == maps[features.ok].tobytes()
    assert b'"backbone":"tiny"' in table.schema.metadata[b"biam_pipe.feature_spec"]
