"""A small feature spec and rows for it."""

import numpy as np

from pipeline.stores.batch import FeatureBatch
from schemas.features import FeatureSpec, MapSpec, PreprocessSpec
from schemas.status import ImageStatus


def spec(dtype: str = "float16") -> FeatureSpec:
    preprocess = PreprocessSpec(
        decoder="pillow", orientation="exif", resize=(64, 64), interpolation="bilinear", antialias=True,
        mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25),
    )  # fmt: skip
    maps = (
        MapSpec(column="grid", role="region", layer="conv9", shape=(3, 2, 5), dtype=dtype),
        MapSpec(column="whole", role="global", layer="fc9", shape=(7,), dtype=dtype, layout="C"),
    )
    return FeatureSpec(
        backbone="small", weights="random:3", weights_sha256="0" * 64, maps=maps, preprocess=preprocess,
        precision="fp32", recipe="1" * 64, versions={"torch": "1.2.3"},
    )  # fmt: skip


def rows(num_rows: int, failed: tuple[int, ...] = (), dtype: str = "float16", start: int = 0) -> FeatureBatch:
    """Rows of random numbers; those of failed images hold numbers too, which must not come back."""
    rng = np.random.default_rng(start)
    numbers = range(start, start + num_rows)
    statuses = [str(ImageStatus.DECODE_ERROR if number in failed else ImageStatus.OK) for number in numbers]
    errors = ["brökèn\nfile" if number in failed else None for number in numbers]
    maps = {one.column: rng.normal(size=(num_rows, *one.shape)).astype(dtype) for one in spec(dtype).maps}
    return FeatureBatch([f"ordner/bild {number} é.jpg" for number in numbers], statuses, errors, maps)
