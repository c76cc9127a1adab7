"""The feature card: a page that tells whoever finds the shards what they are and how to read them."""

from collections.abc import Mapping

from pipeline.stores.contract import Store
from schemas.features import FeatureSpec, MapSpec, PreprocessSpec
from schemas.random_weights import is_random
from schemas.status import ImageStatus

# On a CPU every image is computed among as many others. On a GPU batches of several sizes were not compared.
_EQUAL_BITS = """\
- Equal bits from one machine, its libraries and precision, whatever the workers, the order of shards, the other images
  of a batch and the store; on a CPU whatever `extract.batch_images` and `engine.threads`, too.
- On a GPU another `extract.batch_images` (it halves itself where memory is short), and everywhere another CPU or GPU
  and a compiled network, may change the last digits: in fp32 within 1e-5 of a map's largest number before it is rounded
  to float16, in tf32, bf16 and fp16 within 1e-2. `biam-pipe verify --reextract 20` makes 20 images anew and compares.
"""


def card(dataset: str, spec: FeatureSpec, store: Store, licence: str, counts: Mapping[str, int]) -> str:
    """The page, in Markdown; equal features have equal cards.

    Args:
        dataset: name of the data set.
        store: the module that wrote the shards.
        licence: what is known about using the weights.
        counts: rows by status.
    """
    maps = "\n".join(map(_map_row, spec.maps))
    versions = ", ".join(f"{name} {version}" for name, version in spec.versions.items())
    no_file = " (of the seed: no file exists)" if is_random(spec.weights) else ""
    return f"""# Features of {dataset}: {spec.backbone}

{_what(spec)}

| column | role | layer | shape ({"; ".join(sorted({one.layout for one in spec.maps}, reverse=True))}) | type |
|---|---|---|---|---|
{maps}

One row an image, in the order of the index: `image_id`, `status`, `error` and the maps. An image that failed keeps its
row; its `status` says why and it has no maps. The whole specification: `spec.json`, and in every shard under
`biam_pipe.feature_spec`. The sha256 of every shard: its receipt beside it, `shard-00000.json`.

{_coverage(counts)}

- Weights: {spec.weights}, sha256 {spec.weights_sha256}{no_file}
- Input: {_input(spec.preprocess)}
- Precision of the network: {spec.precision}{", compiled" if spec.compiled else ""}
- Recipe: {spec.recipe}
- Made with: {versions}
{"" if spec.origin else _EQUAL_BITS}
## Reading a map

```python
{store.example(spec.maps[0])}```

## Citing

Name the data set, the backbone with the weights' sha256 above, and this recipe, for example: "features of {dataset},
{spec.backbone} ({spec.weights}), biam-pipe recipe {spec.recipe[:8]}"; beside them the papers of data set and backbone.

## Licence

The images have licences of their own, each its own; features are derived from them. Weights: {licence}.
"""


def _coverage(counts: Mapping[str, int]) -> str:
    """How many images there are, and what became of the others."""
    images = sum(counts.values()) - counts.get(ImageStatus.REMOVED, 0)
    good = counts.get(ImageStatus.OK, 0)
    rows = "\n".join(f"| {status} | {count} |" for status, count in sorted(counts.items(), key=lambda one: -one[1]))
    share = f" ({good / images:.1%})" if images else ""
    return f"{good} of {images} images have features{share}.\n\n| status | images |\n|---|---|\n{rows}"


def _input(seen: PreprocessSpec | None) -> str:
    if seen is None:
        return "unknown"
    return (
        f"{seen.decoder} to RGB, orientation {seen.orientation}, resized to {seen.resize[0]} x {seen.resize[1]} "
        f"({seen.interpolation}, {'with' if seen.antialias else 'without'} antialias, {_cut(seen)}), "
        f"{'' if seen.pixel_scale is None else f'pixels divided by {seen.pixel_scale:g}, '}mean {seen.mean}, "
        f"std {seen.std}"
    )


def _cut(seen: PreprocessSpec) -> str:
    if seen.cover is None:
        return "no crop"
    return f"the middle of an image that covers {seen.cover[0]} x {seen.cover[1]} with its proportions kept"


def _what(spec: FeatureSpec) -> str:
    if spec.origin is not None:
        return f"**Not made here**: {spec.origin}. Nothing below that says unknown can be known of them."
    if is_random(spec.weights):
        return (
            f"**Random weights** ({spec.weights}): the network was never trained. For tests and demonstrations; what "
            "is computed from these features says nothing about the backbone."
        )
    return f"Outputs of {spec.backbone} with the weights {spec.weights}."


def _map_row(one: MapSpec) -> str:
    return f"| {one.column} | {one.role} | {one.layer} | {' x '.join(map(str, one.shape))} | {one.dtype} |"
