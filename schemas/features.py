"""The feature spec: everything that shaped the numbers in a feature shard, carried inside every shard."""

from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

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


class _Told(BaseModel):
    """Fields that are null are left out where `UNSAID` names them: specs of before have none of that name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    UNSAID: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_what_is_not_said(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document: dict[str, Any] = serialize(self)
        return {key: value for key, value in document.items() if value is not None or key not in self.UNSAID}


class PreprocessSpec(_Told):
    """How bytes became the backbone's input."""

    UNSAID = frozenset({"pixel_scale", "cover"})

    decoder: str
    orientation: Literal["exif", "dataset", "none"]
    resize: tuple[int, int]
    cover: tuple[int, int] | None = None  # what the image covers before its middle is cut out; null: it is squeezed
    interpolation: str
    antialias: bool
    pixel_scale: float | None = None  # by which pixels are divided before all else; null: by 255
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class FeatureSpec(_Told):
    """Stored as JSON under `biam_pipe.feature_spec` in Parquet metadata and as an HDF5 file attribute.

    Features that were made here have no origin, others do not say how they were computed.
    """

    UNSAID = frozenset({"compiled", "origin"})

    backbone: str
    weights: str
    weights_sha256: str
    maps: tuple[MapSpec, ...]
    preprocess: PreprocessSpec | None  # null: features that came from elsewhere do not say
    precision: str
    compiled: bool | None = None  # the network, by torch.compile; null: not said
    recipe: str
    versions: dict[str, str]
    origin: str | None = None  # of features that were not made here: files and their hashes

    def map_named(self, name: str) -> MapSpec:
        """The first map of that role, else the one of that column.

        Raises:
            KeyError: there is none.
        """
        return map_named(self.maps, name)

    def difference(self, other: "FeatureSpec") -> str | None:
        """The first field in which another spec differs, with both values; None where the numbers mean the same.

        Library versions do not count: they may differ from shard to shard.
        """
        ours, theirs = (_fields(one.model_dump(mode="json", exclude={"versions"})) for one in (self, other))
        for key in ours | theirs:
            if ours.get(key) != theirs.get(key):
                return f"{key}: {ours.get(key)}, expected {theirs.get(key)}"
        return None


def map_named(maps: Sequence[MapSpec], name: str) -> MapSpec:
    """The first of some maps of that role, else the one of that column.

    Raises:
        KeyError: there is none.
    """
    for found in (*(spec for spec in maps if spec.role == name), *(spec for spec in maps if spec.column == name)):
        return found
    raise KeyError(name)


def _fields(value: Any, key: str = "") -> dict[str, Any]:
    """Single values by dotted key."""
    if isinstance(value, dict):
        inner = {f"{key}.{name}" if key else name: one for name, one in value.items()}
    elif isinstance(value, list) and any(isinstance(one, dict) for one in value):
        inner = {f"{key}[{number}]": one for number, one in enumerate(value)}
    else:
        return {key: value}
    return {name: one for path, nested in inner.items() for name, one in _fields(nested, path).items()}
