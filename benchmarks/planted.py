"""Do regions, and each block, earn their keep? The ablations of the paper's figure 5 and table 3 on planted concepts.

    export PYTHONPATH=tests/support
    python -m benchmarks.planted [--seeds 0 1 2] [--variants region pooled rcb scb none] [--into figures.json]

Features come from `planted_features.py`. Each variant is a setting of the one model, trained by the stage `train` on
the same images with the same schedule, its epoch chosen on seen labels of validation images, and scored by `evaluate`.
`region` is the whole model. With --into, figures of earlier calls are kept and told together.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from small_work import write

from benchmarks.planted_features import Planted, content, recipe
from pipeline.models.biam.settings import BiamConfig
from pipeline.stages import evaluate, train
from schemas.config import EvaluateConfig, TrainConfig

VARIANTS: dict[str, dict[str, Any]] = {
    "region": {},
    "pooled": {"classification": "pooled"},
    "rcb": {"blocks": ("rcb",)},
    "scb": {"blocks": ("scb",)},
    "none": {"blocks": ()},
}
_FIGURES = [(section, name) for section in ("zsl", "gzsl") for name in ("map", "f1@3", "f1@5")]


def run(variant: str, seed: int) -> dict[str, float]:
    """Train and evaluate one variant on the features of one seed; its figures, chance, and the seconds it took."""
    model = BiamConfig(channels=64, joint_size=64, heads=8, top_k=4, **VARIANTS[variant])
    schedule = TrainConfig(epochs=20, warmup_epochs=2, lr=2e-3, final_lr=2e-4, seed=seed, device="cpu")
    scoring = evaluate.settled(EvaluateConfig(device="cpu", examples=0), "nuswide")
    planted, started = Planted(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        work = write(Path(folder), recipe(planted), content(planted, seed))
        task = work.task("train", train.Settings(model, schedule))
        work = work.with_receipts(task, train.run(task))
        evaluate.run(work.task("evaluate", evaluate.Settings(scoring, dataset="planted")))
        told = json.loads(work.path("evaluate", "metrics.json").read_bytes())
    found = {f"{section} {name}": told[section][name] for section, name in _FIGURES}
    found |= {f"{section} chance": told[section]["chance"]["map"] for section in ("zsl", "gzsl")}
    return found | {"seconds": time.perf_counter() - started}


def tell(figures: dict[str, dict[str, dict[str, float]]]) -> None:
    """Print mean and spread over seeds, a line a variant."""
    names = [f"{section} {name}" for section, name in _FIGURES]
    print("variant  seeds  " + "  ".join(f"{name:>12}" for name in names) + "   s a run")
    for variant in VARIANTS:
        if not (runs := list(figures.get(variant, {}).values())):
            continue
        cells = []
        for name in names:
            values = 100 * np.array([run[name] for run in runs])
            cells.append(f"{values.mean():.1f} +- {values.std():.1f}")
        seconds = np.mean([run["seconds"] for run in runs])
        print(f"{variant:<8} {len(runs):>5}  " + "  ".join(f"{cell:>12}" for cell in cells) + f"   {seconds:.0f}")
    every = [run for runs in figures.values() for run in runs.values()]
    chance = {section: 100 * np.mean([run[f"{section} chance"] for run in every]) for section in ("zsl", "gzsl")}
    print(f"chance   zsl map {chance['zsl']:.1f}, gzsl map {chance['gzsl']:.1f}")


def main() -> None:
    """Run what is asked for and tell it beside what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", choices=VARIANTS, nargs="+", default=list(VARIANTS))
    parser.add_argument("--into", type=Path)
    arguments = parser.parse_args()
    figures: dict[str, dict[str, dict[str, float]]] = {}
    if arguments.into and arguments.into.exists():
        figures = json.loads(arguments.into.read_text())
    for seed in arguments.seeds:
        for variant in arguments.variants:
            figures.setdefault(variant, {})[str(seed)] = run(variant, seed)
            if arguments.into:
                arguments.into.write_text(json.dumps(figures, indent=1))
    tell(figures)


if __name__ == "__main__":
    main()
