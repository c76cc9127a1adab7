import asyncio
import socket

from aiohttp.abc import AbstractResolver, ResolveResult

from pipeline.web.answer import Answer
from pipeline.web.client import open_client
from schemas.config import DownloadConfig
from schemas.status import ImageStatus


class NoNames(AbstractResolver):
    """What a name server says about names that do not exist."""

    def __init__(self) -> None:
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        raise OSError(None, f"{host}:{port}: Name or service not known")

    async def close(self) -> None:
        """Nothing to close."""


def test_a_name_that_does_not_resolve_is_tried_again_and_then_has_a_status() -> None:
    names = NoNames()

    async def ask() -> Answer:
        config = DownloadConfig(attempts=3, backoff_s=0.001)
        async with open_client(config, 8, names) as client:
            return await client.fetch("http://images.example/a.jpg", budget_s=20)

    assert asyncio.run(ask()) == Answer(ImageStatus.DNS_ERROR, error="the host name does not resolve")
    assert names.asked == 3


def test_a_wait_that_would_outlast_the_budget_is_not_begun() -> None:
    names = NoNames()

    async def ask() -> Answer:
        config = DownloadConfig(attempts=3, backoff_s=3600)
        async with open_client(config, 8, names) as client:
            return await client.fetch("http://images.example/a.jpg", budget_s=20)

    assert asyncio.run(ask()).status is ImageStatus.DNS_ERROR
    assert names.asked == 1
