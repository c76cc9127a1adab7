import asyncio

import pytest

from benchmarks.fault_server import picture, serving
from pipeline.net.networks import Networks
from pipeline.net.transfers import Transfers
from schemas.config import DownloadConfig


def test_what_libcurl_does_not_take_is_told_and_the_next_request_goes_on() -> None:
    async def both() -> bytes:
        transfers = Transfers(DownloadConfig(), 8, Networks(("127.0.0.0/8",)))
        for address in (
            f"{server.base}/{'a' * 8_000_000}",
            f"{server.base}/\0",
            f"{server.base}/\ud800",
            "http://[::1",
        ):
            with pytest.raises(ValueError, match=r"."):
                await transfers.get(address, None, 20)
        return (await transfers.get(f"{server.base}/ok/1", None, 20)).body

    with serving() as server:
        assert asyncio.run(both()) == picture(1)


def test_a_sender_is_named_in_utf8() -> None:
    async def fetched() -> bytes:
        config = DownloadConfig(user_agent="caf\u00e9")
        return (await Transfers(config, 8, Networks(("127.0.0.0/8",))).get(f"{server.base}/ok/2", None, 20)).body

    with serving() as server:
        assert asyncio.run(fetched()) == picture(2)
