"""Another decoder, from the command line: its features are its own, and `verify` and `predict` decode as it did."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.flips.warm import Plain, Runner
from benchmarks.photographs import photographs
from pipeline.datasets.folder.settings import FolderDataset
from pipeline.images.ready import ImageRow, PixelOptions, ready
from pipeline.images.source import ImageSource
from pipeline.inference.predictor import Predictor
from pipeline.settings.layers import as_toml
from schemas.config import BackboneConfig, Config, ExtractConfig
from schemas.features import FeatureSpec
from schemas.fit import Fit

CONFIG = Config(
    dataset=FolderDataset(folders=("photos",)),
    backbone=BackboneConfig(name="tiny", weights="random:0", input_px=32),
    extract=ExtractConfig(decoder="torchvision", device="cpu"),
)


def command(run: Runner, folder: Path, words: str) -> dict[str, Any]:
    (folder / "biam-pipe.toml").write_text(as_toml(CONFIG))
    ended = run([*words.split(), "--json"], folder=folder)
    assert ended.code == 0, ended.stderr
    assert "Warning" not in ended.stderr
    value: dict[str, Any] = json.loads(ended.stdout)
    return value


@pytest.mark.filterwarnings("ignore:.*decoding and encoding:DeprecationWarning")
def test_features_of_another_decoder_are_made_anew_and_predicted_from_by_that_decoder(
    tmp_path: Path, warm: Runner
) -> None:
    photographs(tmp_path / "photos", 3)
    command(Plain(200.0), tmp_path, "extract")  # in which imports, too, warn of nothing
    again = command(warm, tmp_path, "verify --reextract 3")["reextracted"]
    (described,) = tmp_path.glob("work/folder/features/*/*/spec.json")
    spec = FeatureSpec.model_validate_json(described.read_bytes())
    photo = tmp_path / "photos/00000.jpg"
    row = ImageRow("0", "ok", None, ImageSource(photo.read_bytes()), None)
    by_device, by_pillow = (
        ready(row, PixelOptions("exif", 10**7, Fit((32, 32)), device)).pixels for device in ("cpu", None)
    )

    predictor = Predictor(CONFIG, spec, spec.maps, torch.nn.Identity(), torch.zeros(1, 1), has_response_maps=False)
    opened = ready(predictor._row(str(photo)), predictor._pixel_options(keep_picture=False))

    assert (again["images"], again["equal"], again["problems"]) == (3, 3, [])
    assert spec.preprocess is not None
    assert spec.preprocess.decoder == "torchvision on cpu (upright JPEGs), else pillow"
    assert np.array_equal(opened.pixels, by_device)
    assert not np.array_equal(opened.pixels, by_pillow)
