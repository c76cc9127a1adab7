"""Files of tensors and features, small and sound, and what the pipeline makes of changed ones."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np
import torch
from safetensors.torch import save

from benchmarks.fuzzed.changes import Kind, Outcome
from benchmarks.fuzzed.files import NUMBER_WORDS, file_outcome
from pipeline.datasets.nuswide import released
from pipeline.files.plain_hdf5 import NotPlainError, plain_numbers
from pipeline.files.storage import Storage
from pipeline.files.weights_file import WeightsFile
from pipeline.inference.model_file import load_model, save_model
from pipeline.models import MODELS
from pipeline.models.sizes import FeatureSizes
from schemas.errors import PipelineError
from schemas.released import FEATURES, LABELS

_SEEN, _UNSEEN, _REGION = 3, 2, (4, 9)  # labels, and shape of a region map, of files of features
_SECRET = 77  # no sound file of features holds this number; files beside it do
_ELSEWHERE = ("link", "soft", "circle", "virtual", "external", "group", "text", "scalar", "huge")


def models(folder: Path) -> Kind:
    """Model files."""
    return Kind(_model_seeds(folder), file_outcome(folder / "m.safetensors", load_model), words=NUMBER_WORDS)


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    return WeightsFile(path, "backbone.weights", "extract", "backbone 'tiny'").read()


def weights(folder: Path) -> Kind:
    """Weights of a backbone as safetensors."""
    seeds = [save({"a.weight": torch.zeros(3, 2), "b": torch.ones(1, dtype=torch.float16)})]
    return Kind(seeds, file_outcome(folder / "w.safetensors", _tensors))


def torch_weights(folder: Path) -> Kind:
    """Weights of a backbone as torch saves them."""
    return Kind(_torch_seeds(), file_outcome(folder / "w.pth", _tensors))


def hdf5(folder: Path) -> Kind:
    """Features that others give."""
    return Kind(_hdf5_seeds(folder), _hdf5_outcome(folder / "features.h5"))


def _model_seeds(folder: Path) -> list[bytes]:
    """A model of each name, as training writes them."""
    storage, found = Storage(folder / "models"), []
    for name, sizes in (("biam", {"region": 8, "global": 6}), ("ridge", {"global": 6})):
        module = MODELS.load(name)
        small = {"channels": 4, "heads": 2, "joint_size": 4, "top_k": 2} if name == "biam" else {}
        config, shape = module.SETTINGS(**small), FeatureSizes(sizes, 5)
        save_model(storage, f"{name}.safetensors", module.build(config, shape).state_dict(), config, shape)
        found.append(storage.read(f"{name}.safetensors"))
    head = json.loads(found[0][8 : 8 + int.from_bytes(found[0][:8], "little")])
    for change in ({"channels": 10**9, "heads": 1}, {"name": "ridge"}, {"name": "nobody"}, {"top_k": 10**30}):
        document = json.loads(head["__metadata__"]["biam_pipe"])
        document["model"] |= change
        text = json.dumps(head | {"__metadata__": {"biam_pipe": json.dumps(document)}}).encode()
        found.append(len(text).to_bytes(8, "little") + text + found[0][8 + int.from_bytes(found[0][:8], "little") :])
    return found


def _torch_seeds() -> list[bytes]:
    """Tensors by name as torch saves them, in both of its formats, and within a checkpoint."""
    found = []
    for value in (
        {"a.weight": torch.zeros(3, 2), "b": torch.ones(1)},
        {"teacher": {"module.backbone.a": torch.ones(2)}},
    ):
        for zipped in (True, False):
            out = BytesIO()
            torch.save(value, out, _use_new_zipfile_serialization=zipped)
            found.append(out.getvalue())
    return found


def _hdf5_seeds(folder: Path) -> list[bytes]:
    """Small files of features for training and for testing, and such as lead to another file."""
    secret, numbers = folder / "secret.h5", folder / "secret.bin"
    with h5py.File(secret, "w") as file:
        file["labels"], file["features"] = np.full(_SEEN, _SECRET, np.int8), np.full(_REGION, _SECRET, np.float32)
    numbers.write_bytes(np.full(_REGION, _SECRET, np.float32).tobytes())
    return [
        _hdf5(partial(_put_sound, width=_SEEN)),
        _hdf5(partial(_put_sound, width=_SEEN + _UNSEEN, compression="gzip", fletcher32=True)),
        *(
            _hdf5(partial(_put_elsewhere, secret=secret, numbers=numbers, how=how, keys=keys))
            for how in _ELSEWHERE
            for keys in ((FEATURES,), (FEATURES, LABELS))
        ),
    ]


def _hdf5(put: Callable[[h5py.File], None]) -> bytes:
    out = BytesIO()
    with h5py.File(out, "w") as file:
        put(file)
    return out.getvalue()


def _put_sound(file: h5py.File, width: int, images: Sequence[int] = (1, 2), **options: object) -> None:
    for number in images:
        name = f"actor_0001_{number}.jpg"
        file.create_dataset(name + FEATURES, data=np.full(_REGION, number, np.float32), **options)
        file.create_dataset(name + LABELS, data=np.arange(width, dtype=np.int8) % 2, **options)


def _put_elsewhere(file: h5py.File, secret: Path, numbers: Path, how: str, keys: Sequence[str]) -> None:
    """Two images, the numbers of the second of which lie in other files or are none."""
    _put_sound(file, _SEEN)
    name = "actor_0001_2.jpg"
    for key in keys:
        shape, kind = (_REGION, np.float32) if key == FEATURES else ((_SEEN,), np.int8)
        del file[name + key]
        match how:
            case "link":
                file[name + key] = h5py.ExternalLink(str(secret), key.removeprefix("-"))
            case "soft":
                file[name + key] = h5py.SoftLink(f"/actor_0001_1.jpg{key}")
            case "circle":
                file[name + key] = h5py.SoftLink(f"/{name}{key}")
            case "virtual":
                layout = h5py.VirtualLayout(shape, kind)
                layout[:] = h5py.VirtualSource(str(secret), key.removeprefix("-"), shape)
                file.create_virtual_dataset(name + key, layout)
            case "external":
                size = int(np.prod(shape)) * np.dtype(kind).itemsize
                file.create_dataset(name + key, shape, kind, external=[(str(numbers), 0, size)])
            case "group":
                file.create_group(name + key)
            case "text":
                file[name + key] = "text"
            case "scalar":
                file[name + key] = kind(1)
            case "huge":
                file.create_dataset(name + key, (3_000_000_000,) * len(shape), kind, chunks=(1000,) * len(shape))


def _hdf5_outcome(path: Path) -> Outcome:
    """What the stages make of a file of features."""

    def outcome(data: bytes) -> str:
        path.write_bytes(data)
        try:
            found = released.found_file(path, _SEEN, _UNSEEN)
            labels = list(released.positives(found, _SEEN, _UNSEEN))
        except PipelineError:
            return "refused"
        assert len(labels) == len(found.names) == len(set(found.names))
        told = Counter[str]()
        with h5py.File(path, "r", locking=False) as file:
            for name in found.names:
                try:
                    numbers = plain_numbers(file, name + FEATURES, [_REGION])
                except NotPlainError:
                    numbers = None
                assert numbers is None or not (numbers == _SECRET).all(), "numbers of another file"
                told["row ok" if numbers is not None else "row failed"] += 1
        return " and ".join(sorted(told))

    return outcome
