"""A run for some shards alone: beside others, without a record, completed by a run for all."""

from pathlib import Path

import pytest

from pipeline import flow
from pipeline.files.slices import writing_shards
from pipeline.files.storage import Storage
from pipeline.settings.layers import configuration
from schemas.config import Config
from schemas.errors import HeldFolderError, PipelineError, UsageError


@pytest.fixture
def config() -> Config:
    return configuration("demo", None, {}, ["dataset.num_images=120", "backbone.name=tiny"], Path("work"))


def ran(config: Config, work: Path, scheduler: str, shards: str | None, stage: str = "extract") -> dict[str, int]:
    request = flow.Request(stage, scheduler=scheduler, quiet=True, shards=flow.shard_range(shards))
    result = flow.run(config, work, request)
    assert result.problem is None
    return dict(result.ran)


def test_slices_run_beside_each_other_and_a_run_for_all_completes_them(
    config: Config, tmp_path: Path, scheduler: str
) -> None:
    storage = Storage(str(tmp_path / "demo"))
    with pytest.raises(PipelineError, match=r"extract --shards: index is not up to date.* biam-pipe index"):
        ran(config, tmp_path, scheduler, "0:1")
    assert list(tmp_path.iterdir()) == []
    ran(config, tmp_path, scheduler, None, "index")
    with writing_shards(storage, range(2, 3)):
        assert ran(config, tmp_path, scheduler, "0:2") == {"download": 2, "extract": 2}
        assert ran(config, tmp_path, scheduler, "0:2") == {}
        with pytest.raises(HeldFolderError, match=r"shards 2:3 of .* and 1:3 overlap them"):
            ran(config, tmp_path, scheduler, "1:3")
        with pytest.raises(HeldFolderError, match="is being written by"):
            ran(config, tmp_path, scheduler, None)
    assert ran(config, tmp_path, scheduler, "2:9", "download") == {"download": 1}
    (features,) = (tmp_path / "demo/features").glob("*/parquet")
    assert not list((tmp_path / "demo").glob("downloads/stage.parquet")) + list(features.glob("stage.parquet"))
    assert not (features / "spec.json").exists()
    assert ran(config, tmp_path, scheduler, None) == {"extract": 2}  # the last shard, and the spec of all
    assert (features / "stage.parquet").exists()
    assert not (tmp_path / "demo/.slices").exists()
    with pytest.raises(UsageError, match=r"there are 3 shards, counted from 0; got 3:4, expected at least one"):
        ran(config, tmp_path, scheduler, "3:4")


@pytest.mark.parametrize("text", ["4", "4:4", "5:4", "a:b", "-1:4", ":4", "4:"])
def test_what_is_no_range_of_shards_is_named(text: str) -> None:
    with pytest.raises(UsageError, match=f"--shards wants the first shard .* got '{text}', expected A:B with A below"):
        flow.shard_range(text)
