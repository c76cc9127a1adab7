"""A user's own project that changes: copied to another place, one photo more, one label more."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import flow
from pipeline.commands.outcome import Result
from pipeline.settings.layers import configuration
from schemas.config import Config

TOML = """
dataset = {name = "folder", folders = ["photos"], labels = "labels.csv", unseen = "unseen.txt", shard_images = 4}
backbone = {name = "tiny", weights = "random:0", input_px = 32}
embed = {vectors = "words.txt"}
split = {test_fraction = 0.4, validation_fraction = 0.0}
model = {name = "ridge", preset = "conse", strength = 1.0}
engine = {threads = 1}
"""
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220)}


@dataclass(frozen=True)
class Project:
    """A folder with settings, photos, lists and vectors, and the work folder in it."""

    folder: Path
    scheduler: str

    def config(self, *sets: str) -> Config:
        return configuration(None, self.folder / "biam-pipe.toml", {}, sets, self.folder / "work")

    def run(self, *sets: str, last: str = "report") -> Result:
        return flow.run(
            self.config(*sets), self.folder / "work", flow.Request(last, scheduler=self.scheduler, quiet=True)
        )

    def add(self, colour: str, number: int) -> None:
        name = f"{colour}{number}.png"
        Image.fromarray(np.full((32, 32, 3), COLOURS[colour], np.uint8) + np.uint8(number)).save(
            self.folder / "photos" / name
        )
        with (self.folder / "labels.csv").open("a") as file:
            file.write(f"{name},{colour}\n")

    def files(self) -> dict[str, bytes]:
        found = (path for path in (self.folder / "work").rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in found}


@pytest.fixture
def project(tmp_path: Path, scheduler: str) -> Project:
    """Twelve photos of three colours."""
    made = Project(tmp_path / "here", scheduler)
    (made.folder / "photos").mkdir(parents=True)
    (made.folder / "biam-pipe.toml").write_text(TOML)
    (made.folder / "labels.csv").write_text("image,labels\n")
    (made.folder / "unseen.txt").write_text("blue\n")
    words = (" ".join([name, *map(str, colour)]) for name, colour in COLOURS.items())
    (made.folder / "words.txt").write_text("\n".join(words))
    for colour in COLOURS:
        for number in range(4):
            made.add(colour, number)
    return made


def test_a_copy_keeps_features_training_and_report_and_one_photo_more_is_another_run(
    project: Project, tmp_path: Path
) -> None:
    done = project.run().stages
    assert [line.name for line in done if line.counts.get("ok") == 12] == ["download", "extract"]
    before = project.files()
    _photos_are_referenced_where_they_lie(project, tmp_path / "for fiftyone")
    assert project.files() == before

    copy = replace(project, folder=tmp_path / "there")
    shutil.copytree(project.folder, copy.folder)
    shutil.rmtree(project.folder)
    assert copy.run().ran == {"index": 1, "download": 3}
    after = copy.files()
    changed = {name.split("/")[2] for name in after if after[name] != before.get(name)}
    assert changed == {"downloads", "index", "logs", "sources.json"}
    assert flow.verify(copy.config(), copy.folder / "work").files.problems == ()

    elsewhere = tmp_path / "elsewhere/words.txt"
    elsewhere.parent.mkdir()
    (copy.folder / "words.txt").rename(elsewhere)
    moved = f"embed.vectors={elsewhere}"
    assert copy.run(moved).ran == {}
    after = copy.files()
    assert str(elsewhere) in after["work/folder/sources.json"].decode()
    assert copy.run(moved).ran == {}
    assert copy.files() == after

    copy.add("red", 9)
    assert copy.run(moved, last="embed").ran == {"index": 1, "download": 1, "split": 1}
    assert copy.run(moved, last="extract").ran == {"extract": 1}
    line = flow.plan(copy.config(moved), copy.folder / "work", flow.Request("train"))[-1]
    (run,) = (copy.folder / "work/folder/runs").iterdir()
    assert line.reasons == ("input changed",)
    assert line.notes != (f"in runs/{run.name}",)


def _photos_are_referenced_where_they_lie(project: Project, out: Path) -> None:
    """In the form for FiftyOne: they are not copied."""
    config = project.config()
    flow.convert(config, project.folder / "work", flow.Conversion("fiftyone", config, out, quiet=True))
    assert not (out / "images").exists()
    found = []
    for split in {path.parent for path in out.glob("*/data.json")}:
        places, told = (json.loads((split / name).read_text()) for name in ("data.json", "labels.json"))
        for key, path in places.items():
            image_id = told["image_ids"][key.removesuffix(".x")]
            (label,) = (told["classes"][number] for number in told["labels"][key.removesuffix(".x")])
            assert (path, image_id.startswith(label)) == (str(project.folder / "photos" / image_id), True)
            found.append(image_id)
    assert len(found) == 12


def test_an_image_without_labels_is_left_out_of_the_features_until_it_has_some(project: Project) -> None:
    lines = (project.folder / "labels.csv").read_text().splitlines(keepends=True)
    (project.folder / "labels.csv").write_text("".join(lines[:-1]))
    assert project.run(last="download").ran == {"index": 1, "download": 3}
    request = flow.Request("extract")
    (*_, line) = flow.plan(project.config(), project.folder / "work", request)
    assert line.notes == ("images without labels get features, too, unless extract.only_labelled is set: 1",)

    only = "extract.only_labelled=true"
    assert flow.plan(project.config(only), project.folder / "work", request)[-1].notes == ()
    result = project.run(only, last="extract")
    assert result.stages[-1].counts == {"ok": 11, "unlabelled": 1}
    assert result.problem is None
    (project.folder / "labels.csv").write_text("".join(lines))
    result = project.run(only, last="extract")
    assert (result.ran, result.stages[-1].counts) == ({"index": 1, "extract": 1}, {"ok": 12})
    assert result.problem is None
