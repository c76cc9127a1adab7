"""Which shards of images are fetched again although they stand: those with rows that failed, when a user asks for it.

A run in which no image at all could be had asks by itself: its network was down, or its server.
"""

from collections.abc import Collection

from pipeline.engine.graph import Node
from pipeline.stages.download import PLACEHOLDERS
from schemas.errors import unknown_name
from schemas.receipts import status_counts
from schemas.status import FAILURES, FAULTS, PERMANENT, ImageStatus

ALL = "all"
_UNTOLD = ("e60b98765d26e34bfbb797c1a5f378f2",)  # those of receipts from before they said so
RETRIED = FAILURES - PERMANENT  # where no class is named


def failed_statuses(text: str | None, every: frozenset[ImageStatus] = RETRIED) -> frozenset[ImageStatus]:
    """The statuses that a text names: none, all of them, or a list with commas.

    Args:
        every: what "all" means; those that another run may better.

    Raises:
        UsageError: an unknown name, or one that is no failure.
    """
    if text is None:
        return frozenset()
    if text == ALL:
        return every
    known = {str(status): status for status in ImageStatus if status in FAILURES}
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in known]:
        raise unknown_name("status of a failure", unknown[0], known)
    return frozenset(known[name] for name in names)


def reopen(download: Node, asked: Collection[ImageStatus]) -> None:
    """Mark the shards that hold rows with these statuses as to be run again.

    Where none are asked for and no row of all shards is ok, all failures are meant, permanent ones too: a base address
    with a typing error gives 404 for every image. An owner who opted out did not fail.
    """
    counts = status_counts(download.kept.values())
    statuses = frozenset(asked) or (frozenset() if counts[ImageStatus.OK] else FAULTS)
    # One text for all shards: `plan` tells each reason once.
    told = ", ".join(f"{status} {counts[status]}" for status in sorted(statuses) if counts[status])
    for shard, receipt in download.kept.items():
        if any(receipt.counts.get(status) for status in statuses):
            download.again[shard] = f"failed, to be tried again: {told}"
    download.redo = frozenset(map(str, statuses))


def recheck_placeholders(download: Node, hashes: Collection[str]) -> None:
    """Mark the shards that were judged by other hashes of placeholder pictures as to be looked at again.

    Stored bytes that match a new hash are fetched again, from the image's next location if there is one; so are rows
    that are `placeholder` where a hash is gone. Of shards whose bytes were dropped nobody can tell: `plan` says so.

    Args:
        hashes: MD5s of the settings, `download.placeholder_md5`.
    """
    dropped = 0
    for shard, receipt in download.kept.items():
        if "bytes" not in receipt.facts:  # features given by others: nothing was fetched
            continue
        before, now = set(receipt.facts.get(PLACEHOLDERS, _UNTOLD)), set(hashes)
        if now - before and receipt.pruned:
            dropped += 1
        elif now - before:
            download.again[shard] = "download.placeholder_md5 has new hashes, and stored bytes are compared with them"
        if before - now and receipt.counts.get(ImageStatus.PLACEHOLDER):
            download.again[shard] = "download.placeholder_md5 lacks hashes that it had"
            download.redo |= {str(ImageStatus.PLACEHOLDER)}
    if dropped:
        download.notes.append(
            f"images of {dropped} shards were dropped after use, and cannot be compared with the new hashes of "
            "download.placeholder_md5"
        )
