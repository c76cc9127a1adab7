"""An image that kills the worker that decodes it costs itself, and a run goes on to its end."""

import json
import os
from pathlib import Path

from PIL import Image

from benchmarks.flips.warm import Ended, Runner
from pipeline.stores import STORES

ROOT = Path(__file__).resolve().parents[1]


def extract(run: Runner, folder: Path, killer: str, header_killer: str) -> Ended:
    environment = {
        "PYTHONPATH": os.pathsep.join([str(ROOT / "tests/faults"), str(ROOT)]),
        "BIAM_PIPE_TEST_KILLER": killer,
        "BIAM_PIPE_TEST_HEADER_KILLER": header_killer,
    }
    command = ["extract", "--dataset", "folder", "--json"]
    settings = {
        "dataset.folders": "photos",
        "dataset.shard_images": 4,
        "backbone.name": "tiny",
        "backbone.weights": "random:0",
        "backbone.input_px": 32,
        "extract.max_failed_fraction": 0.5,
    }
    command += [f"--set={key}={value}" for key, value in settings.items()]
    return run(command, environment, folder=folder)


def test_images_that_kill_their_worker_are_rows_with_a_status_and_all_others_have_maps(
    tmp_path: Path, warm: Runner
) -> None:
    (tmp_path / "photos").mkdir()
    names = [f"{number}.jpg" for number in range(12)]
    names[1], names[2], names[9] = "1-killer.jpg", "2-killer.jpg", "9-killer.jpg"
    for number, name in enumerate(names):
        Image.new("RGB", (40, 40), (20 * number, 0, 99)).save(tmp_path / "photos" / name)
    for number, name in ((4, "4-header.png"), (6, "6-header.png")):
        (tmp_path / "photos" / names[number]).unlink()
        names[number] = name
        Image.new("RGB", (40, 40)).save(tmp_path / "photos" / name)
        with (tmp_path / "photos" / name).open("ab") as file:
            file.write(b"deadly header")

    ended = extract(warm, tmp_path, "killer", "deadly header")

    assert ended.code == 0, ended.stderr
    assert "its worker process died" in ended.stderr
    stage = next(one for one in json.loads(ended.stdout)["stages"] if one["name"] == "extract")
    assert stage["counts"] == {"ok": 7, "decode_error": 3, "not_an_image": 2}
    found = {}
    for path in sorted(tmp_path.glob("work/folder/features/*/parquet/shard-*.parquet")):
        with STORES.load("parquet").open_shard(path) as shard:
            maps = shard.read(range(shard.num_rows), "conv2")
            rows = zip(shard.image_ids(), shard.statuses(), shard.errors(), maps, strict=True)
            found |= {name: (status, error, bool(values.any())) for name, status, error, values in rows}
    assert len(found) == 12
    expected = {
        "killer": ("decode_error", "decoder died (signal 11)", False),
        "header": ("not_an_image", "broken header: its reader died (signal 11)", False),
    }
    for name, row in found.items():
        assert row == expected.get(name.partition("-")[2][:6], ("ok", None, True)), name
