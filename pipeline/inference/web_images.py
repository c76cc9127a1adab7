"""Images at addresses as rows with their bytes, fetched ahead of whoever takes them; rows of files pass through."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial

from pipeline.images.ready import ImageRow
from pipeline.images.source import ImageSource
from pipeline.machine.ahead import ahead
from pipeline.net.answer import Answer
from pipeline.net.fetch import is_web_address
from schemas.config import DownloadConfig
from schemas.status import ImageStatus

_AT_ONCE = 16
_AHEAD = 32


@contextmanager
def fetched(rows: Iterable[ImageRow], config: DownloadConfig) -> Iterator[Iterator[ImageRow]]:
    """The rows in their order; those whose id is a web address have its bytes, or the status that says why not.

    Addresses obey the section `download`: attempts, limits, redirects, networks that may be asked.
    """
    with ahead(partial(_row, config), rows, _AT_ONCE, _AHEAD, name="fetch") as found:
        yield found


def _row(config: DownloadConfig, row: ImageRow) -> ImageRow:
    if row.status != ImageStatus.OK or not is_web_address(row.image_id):
        return row
    from pipeline.net import loop

    answer = loop.run(_fetch(row.image_id, config), None)
    source = ImageSource(answer.data, stored=row.image_id)
    return ImageRow(row.image_id, answer.status, answer.error, source, None)


async def _fetch(address: str, config: DownloadConfig) -> Answer:
    from pipeline.net.client import shared_client

    client = shared_client(config, config.host_requests)
    async with client.slots:
        return await client.fetch(address, config.timeout_s)
