"""The feature spec: everything that shaped the numbers in a feature shard, carried inside every shard."""

from math import prod
from typing import Literal

from pydantic import BaseModel, ConfigDict

METADATA_KEY = "biam_pipe.feature_spec"


class MapSpec(BaseModel):
    """One named map of a backbone.

    `role` tells a model what it is for: `region` maps have shape (height, width, channel), `global` ones (channel,).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    role: Literal["region", "global"]
    layer: str
    shape: tuple[int, ...]
    dtype: Literal["float16", "float32"] = "float16"
    layout: Literal["HWC", "C"] = "HWC"

    @property
    def size_bytes(self) -> int:
        """Bytes of one image's map."""
        return prod(self.shape) * {"float16": 2, "float32": 4}[self.dtype]


class PreprocessSpec(BaseModel):
    """How bytes became the backbone's input."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    decoder: str
    orientation: Literal["exif", "dataset", "none"]
    resize: tuple[int, int]
    interpolation: str
    antialias: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class FeatureSpec(BaseModel):
    """Stored as JSON under `biam_pipe.feature_spec` in Parquet metadata and as an HDF5 file attribute."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str
    weights: str
    weights_sha256: str
    maps: tuple[MapSpec, ...]
    preprocess: PreprocessSpec
    precision: str
    recipe: str
    versions: dict[str, str]

    def map_with_role(self, role: str) -> MapSpec:
        """The first map of that role.

        Raises:
            KeyError: no map has it.
        """
        for one in self.maps:
            if one.role == role:
                return one
        raise KeyError(role)
