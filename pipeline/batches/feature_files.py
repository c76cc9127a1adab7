"""The files of a stage that gives features: a shard of a store, the spec of all of them, and pages about them."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pipeline.backbones import describe, weights
from pipeline.engine.task import Estimate, Output, Page, Task
from pipeline.files.croissant import FILE as CROISSANT
from pipeline.files.inputs import Inputs, OutputFile
from pipeline.stores import STORES
from pipeline.stores.content import spec_content
from schemas.config import BackboneConfig, StoreConfig
from schemas.features import FeatureSpec, MapSpec
from schemas.receipts import status_counts

_ROW_BYTES = 300  # of a row beside its maps: id, status, and what a store adds to each map


def outputs(config: StoreConfig) -> dict[str, OutputFile]:
    """By name: `features` of each shard, and the `spec` of all."""
    suffix = STORES.load(config.name).SUFFIX
    return {"features": OutputFile(f"{{folder}}/{{shard}}{suffix}"), "spec": OutputFile("{folder}/spec.json")}


def estimate(maps: Sequence[MapSpec], config: StoreConfig, facts: Mapping[str, Any]) -> Estimate:
    """What shards of these maps take: how far they are compressed, only a shard tells."""
    smaller = () if config.compression == "zstd" else ("store.compression=zstd",)
    return Estimate(
        row_bytes=sum(each.size_bytes for each in maps) + _ROW_BYTES,
        at_most=config.compression != "none",
        savings=("fewer or smaller maps (backbone.layers)", *smaller),
    )


def leave_spec(task: Task, spec: FeatureSpec) -> Output:
    """Write the spec of all features of a stage."""
    task.storage.write(task.path("spec"), (spec.model_dump_json(indent=2) + "\n").encode())
    return Output(("spec",), rows=0, content=spec_content(spec))  # the store does not count


def pages(backbone: BackboneConfig, store: str) -> tuple[Page, ...]:
    """The feature card of a folder, and croissant.json: what they count is known only when all shards are there."""
    return Page("README.md", partial(_card, backbone, store)), Page(CROISSANT, partial(_croissant, backbone))


def _card(backbone: BackboneConfig, store: str, features: Inputs) -> str:
    from pipeline.stores.card import card

    counts = status_counts(features.receipts("extract"))
    return card(features.dataset, _spec(features), STORES.load(store), _licence(backbone), counts)


def _croissant(backbone: BackboneConfig, features: Inputs) -> str:
    from pipeline.stores.described import described

    return described(features.dataset, _spec(features), features.receipts("extract"), _licence(backbone))


def _spec(features: Inputs) -> FeatureSpec:
    return FeatureSpec.model_validate_json(features.read("extract", "spec"))


def _licence(backbone: BackboneConfig) -> str:
    return weights.licence(backbone, describe(backbone).published)
