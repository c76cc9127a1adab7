"""What cannot come to an end on this machine or with these settings is refused before the first stage begins.

The stages check for themselves, too; but training begins hours after the first download.
"""

from collections.abc import Collection

from pipeline.backbones import BACKBONES
from pipeline.engine.cluster import require_gpu, visible_gpus
from pipeline.engine.plan import StagePlan
from pipeline.machine.device import require_device
from schemas.command import Command
from schemas.config import Config
from schemas.errors import UsageError
from schemas.features import MapSpec


def refuse_infeasible(config: Config, plan: Collection[StagePlan], scheduler: str | None) -> None:
    """See that the stages that are to run can.

    Args:
        scheduler: address of a user's Dask cluster, whose workers may have what this machine has not.

    Raises:
        PipelineError: a device is not here.
        UsageError: settings that do not fit each other.
    """
    to_run = {line.name for line in plan if not line.up_to_date}
    if "extract" in to_run and scheduler is None and not getattr(config.dataset, "features", ()):
        _require_extract_device(config.extract.device)
    if "train" in to_run:
        _require_regions(config)
        require_device(config.train.device, "train.device", config.train.processes)
    if "evaluate" in to_run:
        require_device(config.evaluate.device, "evaluate.device")


def _require_extract_device(name: str) -> None:
    if name.startswith("cuda"):
        require_gpu(len(visible_gpus()))
        if name not in ("cuda", "cuda:0"):
            raise UsageError(
                f"setting extract.device: got {name!r}, but each worker of the embedded cluster has one GPU, which it "
                "calls cuda:0;",
                expected="cuda",
                hint="CUDA_VISIBLE_DEVICES chooses GPUs. Use:",
                run=Command(sets={"extract.device": "cuda"}),
            )
    else:
        require_device(name, "extract.device")


def _require_regions(config: Config) -> None:
    """See that the model finds the maps it reads among those to store, and in them as many regions as it asks for."""
    maps = BACKBONES.load(config.backbone.name).OFFER.maps(config.backbone)
    side, model = _map(config, maps, "region").shape[0], config.model
    _map(config, maps, "global")
    if model.grid_side is not None and model.grid_side > side:
        raise UsageError(
            "setting model.grid_side:",
            got=f"{model.grid_side}, but the region map has {side} x {side} regions",
            expected=f"at most {side}",
            hint="Use:",
            run=Command(sets={"model.grid_side": side}),
        )
    regions = (model.grid_side or side) ** 2
    if model.classification == "region" and model.top_k > regions:
        raise UsageError(
            "setting model.top_k:",
            got=f"{model.top_k}, but there are {regions} regions",
            expected=f"at most {regions}",
            hint="Use:",
            run=Command(sets={"model.top_k": regions}),
        )


def _map(config: Config, maps: Collection[MapSpec], role: str) -> MapSpec:
    """The first map with a role.

    Raises:
        UsageError: there is none.
    """
    found = next((one for one in maps if one.role == role), None)
    if found is None:
        raise UsageError(
            "setting backbone.layers:",
            got=f"{', '.join(one.column for one in maps)}, and none of them is a {role} map",
            expected=f"one at least, which the model {config.model.name} reads",
            hint="Use:",
            run=Command(sets={"backbone.layers": []}),
        )
    return found
