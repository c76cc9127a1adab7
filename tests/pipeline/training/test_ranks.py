"""Two processes with half of each batch: stopped, refused, dying.

That they learn what one process with all of it does, tests/pipeline/models/test_every_model.py says of every model.
"""

import os
from pathlib import Path

import pytest
import torch
from small_work import Recipe, make

from pipeline.engine.task import Task
from pipeline.models.biam.settings import BiamConfig
from pipeline.stages import train
from pipeline.training.fabric import start_fabric
from pipeline.training.ranks import other_ranks
from schemas.config import TrainConfig
from schemas.errors import PipelineError, TimeBudgetError, UsageError

RECIPE = Recipe(shards=1, shard_images=40)


def settings(processes: int, dropout: float = 0.0, **changes: object) -> train.Settings:
    model = BiamConfig(channels=8, heads=2, joint_size=12, top_k=2, attention_dropout=dropout, global_dropout=dropout)
    fields = {"epochs": 2, "batch_images": 9, "validate_every_epochs": 1, "device": "cpu", "processes": processes}
    return train.Settings(model, TrainConfig(**(fields | changes)), threads=1)


def test_two_processes_that_were_stopped_in_an_epoch_end_with_the_same_bytes(tmp_path: Path) -> None:
    whole, stopped = make(tmp_path / "whole", RECIPE), make(tmp_path / "stopped", RECIPE)
    train.run(whole.task("train", settings(2, 0.5, epochs=1)))
    with pytest.raises(TimeBudgetError):  # after one step of three
        train.run(stopped.task("train", settings(2, 0.5, epochs=1), deadline=1.0))
    train.run(stopped.task("train", settings(2, 0.5, epochs=1)))
    one, other = (work.path("train", "model.safetensors").read_bytes() for work in (whole, stopped))
    assert one == other
    assert not torch.distributed.is_initialized()


def test_batches_too_small_to_share_are_refused(tmp_path: Path) -> None:
    work = make(tmp_path, RECIPE)  # of which 23 are to learn from: one batch has one image
    with pytest.raises(UsageError, match=r"train.processes is 2, but a batch has 1 images.*train.processes=1"):
        train.run(work.task("train", settings(2, batch_images=2)))


def vanish(task: Task) -> None:
    start_fabric(task.settings.train, torch.device("cpu"))
    os._exit(3)


def beside_one_that_vanishes(task: Task) -> None:
    with other_ranks(vanish, task, 2):
        fabric = start_fabric(task.settings.train, torch.device("cpu"))
        for _ in range(1000):
            fabric.all_reduce(torch.ones(1))


def test_a_process_that_dies_is_named(tmp_path: Path) -> None:
    task = make(tmp_path, RECIPE).task("train", settings(2))
    with pytest.raises(PipelineError, match=r"process 1 of 2 died \(exit code 3\)"):
        beside_one_that_vanishes(task)
    assert "LOCAL_RANK" not in os.environ
