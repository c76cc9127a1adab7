"""Features from before images were decoded as they are now: which shards hold an image that comes out in another way.

Grey of 16 bits was clipped, fractions were taken for colours, and broken metadata or a lacking end marker cost a JPEG.
All other features stay valid. Receipts since then say how their images were decoded, so that each shard is looked at
once.
"""

import logging
from collections.abc import Iterator

from pipeline.engine.graph import Graph, Node, Shard, inputs_of
from pipeline.images.decode import has_deep_pixels
from pipeline.images.local import VanishedFileError
from pipeline.images.problem import ImageProblem
from pipeline.images.ready import ImageRow
from pipeline.images.rows import image_rows
from pipeline.machine import stopping
from pipeline.stages.extract import DECODING
from schemas.receipts import Receipt
from schemas.status import ImageStatus

_AGAIN = "images that were broken, or hold more than 8 bits, are decoded in another way now"
_log = logging.getLogger("biam_pipe.extract")


def note_old_decoding(graph: Graph) -> None:
    """Mark the shards with broken images as to be run again, and have `plan` tell what a run would look at."""
    extract = graph["extract"]
    for shard, receipt in _old(extract):
        if receipt.counts.get(ImageStatus.DECODE_ERROR) and not _is_dropped(graph, shard):
            extract.again[shard] = _AGAIN
    if dropped := sum(_is_dropped(graph, shard) for shard, _ in _old(extract)):
        extract.notes.append(
            f"images of {dropped} shards were dropped after use: nobody can tell whether some hold more than 8 bits, "
            "and were decoded in another way than new ones are"
        )
    if waiting := len(_unexamined(graph)):
        extract.notes.append(f"the next run looks once whether images of {waiting} older shards hold more than 8 bits")


def has_old_decoding(graph: Graph) -> bool:
    """Whether `examine` has something to look at."""
    return "extract" in graph and bool(_unexamined(graph))


def examine(graph: Graph, max_pixels: int) -> None:
    """Look at the headers of the images of older shards; those that differ are marked as to be run again.

    The receipts of the others say from then on that they were looked at.

    Raises:
        IntegrityError: a shard of images is damaged.
        InterruptedRunError: asked to stop; what was looked at is not looked at again.
    """
    if not has_old_decoding(graph):
        return
    extract, shards = graph["extract"], _unexamined(graph)
    _log.info("extract: looking once at the images of %d older shards", len(shards))
    inputs = inputs_of(graph, "extract", {name: graph[name].kept.values() for name in ("index", "download")})
    for shard in shards:
        stopping.heed(None)
        if any(_is_deep(row, max_pixels) for row in image_rows(inputs, shard)):
            extract.again[shard] = _AGAIN
            continue
        receipt = extract.kept[shard]
        extract.kept[shard] = receipt.model_copy(update={"facts": {**receipt.facts, "decoding": DECODING}})
        extract.ledger.forget_record()
        extract.ledger.write(extract.kept[shard])
        extract.recorded = False


def _is_deep(row: ImageRow, max_pixels: int) -> bool:
    try:
        return row.status == ImageStatus.OK and has_deep_pixels(row.source.read(), max_pixels)
    except (ImageProblem, VanishedFileError):  # gone or changed since: the features are what is left of it
        return False


def _old(extract: Node) -> Iterator[tuple[Shard, Receipt]]:
    """Shards of images that were decoded in the way of before; features that others gave are none."""
    if extract.stage.consumes:
        for shard, receipt in extract.kept.items():
            if shard is not None and receipt.facts.get("decoding") != DECODING:
                yield shard, receipt


def _unexamined(graph: Graph) -> list[int]:
    """Those of them whose images are still there, and none of which was broken."""
    extract = graph["extract"]
    return [
        shard
        for shard, _ in _old(extract)
        if shard is not None and shard not in extract.again and not _is_dropped(graph, shard)
    ]


def _is_dropped(graph: Graph, shard: Shard) -> bool:
    receipt = graph["download"].kept.get(shard)
    return receipt is None or receipt.pruned
