"""A store tried on three made-up rows: whether what it writes comes back, through everything that a reader has."""

import numpy as np

from pipeline.engine.registry import unfulfilled
from pipeline.files.scratch import scratch_folder
from pipeline.stores.batch import FeatureBatch, dtype_of
from pipeline.stores.contract import Store
from pipeline.stores.reader import Reader
from schemas.config import StoreConfig
from schemas.errors import IntegrityError
from schemas.features import FeatureSpec, MapSpec
from schemas.status import ImageStatus

_MAPS = (
    MapSpec(column="tried_region", role="region", layer="none", shape=(2, 3, 4)),
    MapSpec(column="tried_global", role="global", layer="none", shape=(5,), dtype="float32", layout="C"),
)
_SPEC = FeatureSpec(
    backbone="none", weights="none", weights_sha256="none", maps=_MAPS, preprocess=None, precision="fp32",
    recipe="none", versions={},
)  # fmt: skip
_IDS = ["a", "b/ä", "c"]
_STATUSES = [str(status) for status in (ImageStatus.OK, ImageStatus.TIMEOUT, ImageStatus.OK)]
_ERRORS = [None, "no answer", None]


def trial(store: Store) -> str | None:
    """What is wrong with a store, in words; None where all comes back."""
    if not (isinstance(store.SUFFIX, str) and store.SUFFIX.startswith(".") and len(store.SUFFIX) > 1):
        return f"has SUFFIX = {store.SUFFIX!r}, expected that of its files, with the dot"
    maps = {one.column: _numbers(one) for one in _MAPS}
    with scratch_folder() as folder:
        path = folder / f"shard-00000{store.SUFFIX}"
        store.write(path, _SPEC, StoreConfig(), iter([FeatureBatch(_IDS, _STATUSES, _ERRORS, maps)]))
        if not path.is_file():
            return f"writes no file {path.name}"
        with store.open_shard(path, verified=True) as reader:
            if (problem := unfulfilled(reader, Reader)) is not None:
                return f"gives a reader that {problem}"
            if (problem := _differs(reader)) is not None:
                return problem
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        try:
            with store.open_shard(path) as reader:
                _differs(reader)
        except IntegrityError:
            pass
        except Exception as error:  # noqa: BLE001 - whatever happens in a stranger's code
            return f"raises {type(error).__name__} of a file that is cut in half, expected an IntegrityError"
        if not isinstance(store.example(_MAPS[0]), str):
            return "gives an example that is no text"
    return None


def _numbers(one: MapSpec) -> np.ndarray:
    values = np.arange(3 * int(np.prod(one.shape)), dtype=dtype_of(one)).reshape(3, *one.shape)
    values[1] = 0  # the image failed
    return values


def _differs(reader: Reader) -> str | None:
    said = {"spec": reader.spec, "num_rows": reader.num_rows, "image_ids": list(reader.image_ids())}
    said |= {"statuses": list(reader.statuses()), "errors": list(reader.errors())}
    said |= {"row_groups": [row for group in reader.row_groups for row in group]}
    wrote = {"spec": _SPEC, "num_rows": 3, "image_ids": _IDS, "statuses": _STATUSES, "errors": _ERRORS}
    wrote |= {"row_groups": [0, 1, 2]}
    for name, expected in wrote.items():
        if said[name] != expected:
            return f"gives back {name} {said[name]}, expected {expected}"
    for one in _MAPS:
        expected_map = _numbers(one)
        found = {"read": reader.read(range(1, 3), one.column), "each": np.array([*reader.each([1, 2], one.column)])}
        for name, values in found.items():
            if values.dtype != expected_map.dtype or not np.array_equal(values, expected_map[1:]):
                return f"gives back other numbers by {name}, of type {values.dtype} and shape {values.shape}"
    return None
