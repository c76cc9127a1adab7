"""A user's photos, features and words by one tower, from the index to the report."""

from pathlib import Path

import numpy as np
import pytest
from distributed import LocalCluster
from PIL import Image
from towers import MODEL, SEED

from pipeline import flow
from pipeline.commands.outcome import Result
from pipeline.settings.layers import configuration
from schemas.errors import UsageError

pytest.importorskip("open_clip")

TOML = f"""
dataset = {{name = "folder", folders = ["photos"], labels = "labels.csv", unseen = "unseen.txt"}}
backbone = {{name = "open_clip:{MODEL}", weights = "random:{SEED}"}}
embed = {{vectors = "open_clip:{MODEL}:random:{SEED}", prompts = ["a photo of a {{}}.", "{{}}"]}}
split = {{test_fraction = 0.4, validation_fraction = 0.4}}
model = {{name = "topk_patches", top_k = 4}}
evaluate = {{draws = 2, examples = 2}}
engine = {{threads = 1}}
"""
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220)}


def test_photos_become_figures_by_one_tower(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    rows = ["image,labels"]
    for name, colour in COLOURS.items():
        for number in range(4):
            Image.fromarray(np.full((32, 32, 3), colour, np.uint8) + np.uint8(number)).save(
                tmp_path / "photos" / f"{name}{number}.png"
            )
            rows.append(f"{name}{number}.png,{name}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    (tmp_path / "unseen.txt").write_text("blue\n")
    (tmp_path / "biam-pipe.toml").write_text(TOML)
    work = tmp_path / "work"

    with LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0", processes=False) as cluster:

        def run(*sets: str) -> Result:
            config = configuration(None, tmp_path / "biam-pipe.toml", {}, sets, work)
            return flow.run(config, work, flow.Request("report", scheduler=cluster.scheduler_address, quiet=True))

        done = run()
        assert done.problem is None
        assert done.metrics is not None
        assert {"zsl", "gzsl"} <= done.metrics.keys()
        assert "pretraining" not in str(done.metrics["remarks"])  # random weights have met no words
        assert Path(str(done.report)).is_file()
        with pytest.raises(
            UsageError, match=f"model topk_patches compares .*random:{SEED}, and open_clip:{MODEL}:random:4"
        ):
            run("model.top_k=3", f"embed.vectors=open_clip:{MODEL}:random:4")
