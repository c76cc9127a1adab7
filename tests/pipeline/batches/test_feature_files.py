"""What is foreseen of the files of features."""

from pathlib import Path

import pytest
import small_work

from pipeline.batches.feature_files import estimate
from schemas.config import StoreConfig


@pytest.mark.parametrize("store", ["parquet", "hdf5"])
def test_no_row_takes_more_than_is_foreseen_of_maps_that_cannot_be_compressed(tmp_path: Path, store: str) -> None:
    recipe = small_work.Recipe(shards=1, shard_images=40, side=7, channels=16, row_group_rows=8, store=store)
    work = small_work.make(tmp_path, recipe)
    foreseen = estimate(work.spec.maps, StoreConfig(name=store), {})
    written = work.receipts["extract"][0].size_bytes
    assert foreseen.row_bytes is not None
    assert 0.8 * foreseen.row_bytes < written / recipe.shard_images <= foreseen.row_bytes


def test_what_is_not_compressed_is_foreseen_as_it_will_be_and_how_to_have_less(tmp_path: Path) -> None:
    maps = small_work.make(tmp_path).spec.maps
    packed, raw = (estimate(maps, StoreConfig(compression=name), {}) for name in ("zstd", "none"))
    assert (packed.at_most, raw.at_most) == (True, False)
    assert packed.savings == ("fewer or smaller maps (backbone.layers)",)
    assert raw.savings == (*packed.savings, "store.compression=zstd")
