"""Drops files that no stage will read again: what one stage wrote for one other, once that one has done its shard.

The receipt says so before the file goes, so that a missing file is never taken for a lost one. A crash in between
leaves a file that its receipt calls dropped; the next run removes it.
"""

from pipeline.engine.graph import Graph, Node, Shard
from schemas.receipts import FileReceipt, Receipt


def drop(node: Node, reader: Node, shard: Shard) -> None:
    """Drop the files of a shard that only this reader needed, and that it needs no more."""
    receipt = node.valid.get(shard)
    if receipt is None or not (files := _done_with(node, reader, receipt)):
        return
    if not all(file.pruned for file in files):
        node.ledger.forget_record()
        node.recorded = False
        marked = [file.model_copy(update={"pruned": True}) if file in files else file for file in receipt.files]
        pruned = receipt.model_copy(update={"files": tuple(marked)})
        node.ledger.write(pruned)
        node.valid[shard] = node.kept[shard] = pruned
    for file in files:
        node.ledger.storage.remove(file.path)
        node.sizes.pop(file.path, None)


def nothing_to_drop(graph: Graph) -> bool:
    """Whether all files that no stage needs any more are gone. For a graph in which what is up to date is known."""
    return not any(
        _done_with(graph[name], reader, graph[name].valid[shard])
        for reader in graph.values()
        for name in reader.stage.consumes
        for shard in reader.valid.keys() & graph[name].valid.keys()
    )


def _done_with(node: Node, reader: Node, receipt: Receipt) -> list[FileReceipt]:
    """Files that lie there although their reader has read them."""
    output = node.outputs[reader.stage.consumes[node.name]]
    return [
        file
        for file in receipt.files
        if output.sharded == (receipt.shard is not None) and file.path == output.at(receipt.shard)
        if (file.path in node.sizes if file.pruned else reader.stage.prunes)
    ]
