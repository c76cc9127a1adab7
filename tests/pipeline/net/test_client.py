import asyncio

import pytest

from benchmarks.fault_server import serving
from pipeline.net.answer import Answer
from pipeline.net.client import Client
from schemas.config import DownloadConfig
from schemas.status import ImageStatus

LOOPBACK = DownloadConfig(attempts=3, backoff_s=0.001, allowed_networks=("127.0.0.0/8",))
NO_NAME = f"http://{'a' * 64}.example/a.jpg"  # longer than a name may be: no name server is asked


def ask(address: str, config: DownloadConfig = LOOPBACK, budget_s: float = 20) -> Answer:
    async def fetched() -> Answer:
        return await Client(config, 8).fetch(address, budget_s)

    return asyncio.run(fetched())


def test_a_name_that_does_not_resolve_has_a_status() -> None:
    assert ask(NO_NAME) == Answer(ImageStatus.DNS_ERROR, error="the host name does not resolve")


def test_a_wait_that_would_outlast_the_budget_is_not_begun() -> None:
    patient = LOOPBACK.model_copy(update={"backoff_s": 3600.0})
    with serving() as server:
        assert ask(f"{server.base}/code/500", patient).status is ImageStatus.SERVER_ERROR
    assert server.requests["/code/500"] == 1


@pytest.mark.parametrize(
    "path", ["page/1 2", "page/1%202", "page/caf\u00e9", "page/1?a=b c", "page/[1]", "page/1#part"]
)
def test_addresses_are_sent_in_the_characters_that_http_knows(path: str) -> None:
    with serving() as server:
        assert ask(f"{server.base}/{path}").status is ImageStatus.OK
    (sent,) = server.requests
    assert sent == f"/{path}".replace(" ", "%20").replace("\u00e9", "%C3%A9").removesuffix("#part")


def test_a_request_given_up_leaves_the_others_alone() -> None:
    async def one_of_two() -> Answer:
        client = Client(LOOPBACK, 8)
        given_up = asyncio.ensure_future(client.fetch(f"{server.base}/silent", 20))
        other = asyncio.ensure_future(client.fetch(f"{server.base}/ok/1", 20))
        await other
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        return await client.fetch(f"{server.base}/ok/2", 20)

    with serving() as server:
        assert asyncio.run(one_of_two()).status is ImageStatus.OK
