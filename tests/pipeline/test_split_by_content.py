"""Data set `folder`: equal images share a split, whatever they are called."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline import flow
from pipeline.datasets.folder.settings import FolderDataset
from pipeline.settings.layers import configuration

REASON = "split.by is new: sha256 of the bytes, so that equal images share a split"
COLOURS = range(20)


def splits(work: Path) -> dict[str, str]:
    paths = sorted((work / "folder/splits/default").glob("images-*.parquet"))
    return {row["image_id"]: row["split"] for path in paths for row in pq.read_table(path).to_pylist()}


def test_a_folder_that_was_split_by_names_is_split_anew_and_plan_and_run_say_why(
    tmp_path: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    work, lines, request = tmp_path / "work", ["image,labels"], flow.Request("split", scheduler=scheduler, quiet=True)
    (tmp_path / "photos").mkdir()
    for name in (f"{letter}{colour:02}.png" for letter in "ab" for colour in COLOURS):  # one shard, then the other
        Image.new("RGB", (8, 8), (int(name[1:3]), 0, 0)).save(tmp_path / "photos" / name)
        lines.append(f"{name},x")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    sets = [f"dataset.folders={tmp_path / 'photos'}", f"dataset.labels={tmp_path / 'labels.csv'}"]
    config = configuration("folder", None, {}, [*sets, "dataset.shard_images=20"], work)

    def told() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == "biam_pipe.flow"]

    with monkeypatch.context() as before:
        before.setattr(FolderDataset, "split_by_content", False)
        assert flow.run(config, work, request).ran == {"index": 1, "split": 3}
    by_name = splits(work)
    assert [colour for colour in COLOURS if by_name[f"a{colour:02}.png"] != by_name[f"b{colour:02}.png"]]

    assert [line.reasons for line in flow.plan(config, work, request) if line.name == "split"] == [(REASON,)]
    assert told() == []
    assert flow.run(config, work, request).ran == {"download": 2, "split": 3}
    assert told() == [f"split: images are dealt anew ({REASON})"]

    found = splits(work)
    assert [found[f"a{colour:02}.png"] for colour in COLOURS] == [found[f"b{colour:02}.png"] for colour in COLOURS]
    assert set(found.values()) == {"train", "validation", "test"}
    assert flow.run(config, work, request).ran == {}
    assert told() == [f"split: images are dealt anew ({REASON})"]  # once
