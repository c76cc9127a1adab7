import asyncio
from urllib.parse import quote, urlencode

import pytest

from benchmarks.fault_server import picture, serving
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


@pytest.mark.parametrize(
    "location", ["/page/caf\u00e9".encode(), "/page/caf\u00e9".encode("latin-1"), b" /page/caf\xc3\xa9 "]
)
def test_a_redirect_is_read_as_utf8_or_else_as_latin1(location: bytes) -> None:
    with serving() as server:
        assert ask(f"{server.base}/to/1?Location={quote(location)}").status is ImageStatus.OK
    assert server.requests["/page/caf%C3%A9"] == 1


@pytest.mark.parametrize("value", ["UTF-8", "none", "identity", "aws-chunked", "image/jpeg", "", "gzip-not"])
def test_an_encoding_that_is_none_is_no_obstacle(value: str) -> None:
    with serving() as server:
        assert ask(f"{server.base}/headed/1?{urlencode({'Content-Encoding': value})}").data == picture()


@pytest.mark.parametrize("values", [["br"], ["GZIP"], ["identity, zstd"], ["gzip", "none"], ["x-gzip"]])
def test_an_encoded_body_is_refused(values: list[str]) -> None:
    query = urlencode([("Content-Encoding", value) for value in values])
    with serving() as server:
        assert ask(f"{server.base}/headed/1?{query}").status is ImageStatus.HTTP_ERROR


@pytest.mark.parametrize("code", [408, 421, 425, 429, 502])
def test_passing_codes_are_tried_again(code: int) -> None:
    with serving() as server:
        assert ask(f"{server.base}/code-once/{code}").status is ImageStatus.OK
        assert server.requests[f"/code-once/{code}"] == 2


@pytest.mark.parametrize("path", ["interim-first", "interim-then-chunks", "trailed"])
def test_headers_of_an_interim_answer_and_trailers_are_not_the_answers(path: str) -> None:
    with serving() as server:
        assert ask(f"{server.base}/{path}") == Answer(ImageStatus.OK, data=picture())


def test_an_interim_answer_alone_is_none() -> None:
    with serving() as server:
        answer = ask(f"{server.base}/interim-alone")
        assert answer == Answer(ImageStatus.CONNECTION_ERROR, error="closed without an answer")
        assert server.requests["/interim-alone"] == 3


OPT_OUTS = [
    "X-Robots-Tag=noai",
    "X-Robots-Tag=noindex,+NoImageAI",
    "x-robots-tag=all&X-ROBOTS-TAG=noai",
    "X-Robots-Tag=noai&X-Robots-Tag=all",
    "X-Robots-Tag=somebot:+noai,+noimageai",
    "X-Robots-Tag=unavailable_after:+25+Jun+2010+15:00:00+PST,+noai",
    "TDM-Reservation=1",
]


@pytest.mark.parametrize("query", OPT_OUTS)
def test_an_image_whose_owner_opted_out_is_left_alone_unless_the_setting_says_otherwise(query: str) -> None:
    with serving() as server:
        answer = ask(f"{server.base}/headed/1?{query}")
        assert (answer.status, answer.data) == (ImageStatus.OPTED_OUT, b"")
        assert server.requests.total() == 1
        heedless = LOOPBACK.model_copy(update={"respect_opt_out": "never"})
        assert ask(f"{server.base}/headed/1?{query}", heedless).data == picture()


@pytest.mark.parametrize(
    "query", ["X-Robots-Tag=noindex,+nofollow", "tdm-reservation=0", "X-Robots=noai", "X-Robots-Tag=noairplanes"]
)
def test_other_directives_are_no_opt_out(query: str) -> None:
    with serving() as server:
        assert ask(f"{server.base}/headed/1?{query}").status is ImageStatus.OK


def test_what_is_not_there_is_not_opted_out() -> None:
    with serving() as server:
        assert ask(f"{server.base}/missing/1?X-Robots-Tag=noai").status is ImageStatus.NOT_FOUND


@pytest.mark.parametrize(
    "host",
    [
        "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "169.254.169.254.",
        "\uff11\uff16\uff19.254.169.254",
        "user@2852039166", "10.1", "0", "[::ffff:a9fe:a9fe]", "[fec0::1]", "localhost.", "a.localhost", "%31%30.1",
    ],
)  # fmt: skip
def test_a_private_host_is_refused_in_every_spelling_through_a_proxy(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as proxy:
        monkeypatch.setenv("http_proxy", proxy.base)
        public = LOOPBACK.model_copy(update={"allowed_networks": ()})
        assert ask(f"http://{host}/ok/1", public).status is ImageStatus.PRIVATE_ADDRESS
        assert not proxy.requests
        listed = LOOPBACK.model_copy(update={"allowed_networks": ("8.0.0.0/8",)})
        assert ask("http://0x08080808/ok/1", listed).data == picture(1)
    assert proxy.requests == {"http://8.8.8.8/ok/1": 1}


@pytest.mark.parametrize(
    "host", ["[::127.0.0.1]", "[::ffff:0:127.0.0.1]", "[fec0::1]", "[5f00::1]", "[3fff::1]", "192.88.99.1", "192.0.0.8"]
)
def test_special_networks_are_not_dialled(host: str) -> None:
    assert ask(f"http://{host}/").status is ImageStatus.PRIVATE_ADDRESS


@pytest.mark.parametrize(
    "address",
    [
        "http://[::1",
        "http://a.example/" + "a" * 8_000_000,
        "http://a.example/\0",
        "http://a.example/\x1b[31m",
        "\ud800",
        "http://\ud800/",
    ],
)
def test_a_malformed_address_is_an_answer_whatever_is_paused_meanwhile(address: str) -> None:
    async def both() -> Answer:
        client = Client(LOOPBACK, 8)
        await client.fetch(f"{server.base}/limited-once", 20)
        return await client.fetch(address, 20)

    with serving() as server:
        answer = asyncio.run(both())
    assert answer.status is ImageStatus.BAD_ADDRESS
    assert answer.error is not None
    assert answer.error.isprintable()
