"""Features from before images were decoded as they are now: only shards with images that differ are made anew."""

from pathlib import Path

import numpy as np
from PIL import Image

from pipeline import flow
from pipeline.commands.request import Request
from pipeline.engine.ledger import Ledger
from pipeline.files.storage import Storage
from pipeline.settings.layers import configuration
from schemas.config import Config


def photos(folder: Path) -> Config:
    """Three shards of two images; the second holds grey of 16 bits, the third a broken one."""
    (folder / "photos").mkdir()
    for number in range(6):
        Image.new("RGB", (40, 40), (40 * number, 0, 99)).save(folder / f"photos/{number}.png")
    Image.fromarray(np.full((40, 40), 40_000, np.uint16)).save(folder / "photos/2.png")
    whole = (folder / "photos/5.png").read_bytes()
    (folder / "photos/5.png").write_bytes(whole[:-30])
    sets = [f"dataset.folders={folder / 'photos'}", "dataset.shard_images=2", "backbone.name=tiny"]
    sets += ["backbone.weights=random:0", "backbone.input_px=32", "extract.max_failed_fraction=0.5"]
    return configuration("folder", None, {}, sets, folder / "work")


def made_before(folder: Path) -> Ledger:
    """Receipts as they were before they said how images were decoded."""
    (features,) = (folder / "work/folder/features").glob("*/parquet")
    storage = Storage(str(folder / "work/folder"))
    ledger = Ledger(storage, "extract", str(features.relative_to(folder / "work/folder")), "stage")
    for shard in range(3):
        receipt = ledger.read(shard)
        facts = {key: value for key, value in receipt.facts.items() if key != "decoding"}
        ledger.write(receipt.model_copy(update={"facts": facts}))
    ledger.forget_record()
    return ledger


def test_only_shards_with_images_that_differ_are_made_anew_and_all_are_looked_at_once(
    tmp_path: Path, scheduler: str
) -> None:
    config, work = photos(tmp_path), tmp_path / "work"
    request = Request("extract", scheduler=scheduler, quiet=True)
    flow.run(config, work, request)
    ledger = made_before(tmp_path)
    before = {shard: ledger.read(shard) for shard in range(3)}

    line = flow.plan(config, work, request)[-1]
    assert line.to_run == 1  # the shard with a broken image
    assert "the next run looks once whether images of 2 older shards hold more than 8 bits" in line.notes
    result = flow.run(config, work, request)

    assert result.ran["extract"] == 2
    after = {shard: ledger.read(shard) for shard in range(3)}
    assert all(receipt.facts["decoding"] == 2 for receipt in after.values())
    assert after[0].started_at == before[0].started_at
    assert after[1].started_at > before[1].started_at
    assert [receipt.content for receipt in before.values()] == [receipt.content for receipt in after.values()]
    stood = {path: path.stat().st_mtime_ns for path in work.rglob("*")}
    assert not any("looks once" in note for note in flow.plan(config, work, request)[-1].notes)
    assert flow.run(config, work, request).ran == {}
    assert {path: path.stat().st_mtime_ns for path in work.rglob("*")} == stood
