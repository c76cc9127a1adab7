"""The embedded cluster answers nobody without the key of its run."""

import socket
import ssl
from collections.abc import Iterator

import psutil
import pytest

from pipeline.engine.cluster.keys import run_keys
from pipeline.engine.cluster.pool import Pool
from schemas.config import EngineConfig

_WITHIN_S = 100.0
ALERT = b"\x15"  # how a TLS record begins that says why nobody is served


@pytest.fixture(scope="module")
def ours() -> Iterator[Pool]:
    with Pool(None, EngineConfig(io_workers=1), ["io"], lambda told: None) as pool:
        assert pool.open().submit(len, "one").result() == 3
        yield pool


def listening() -> list[int]:
    """Ports on which this process and those below it listen."""
    here = psutil.Process()
    connections = [one for process in (here, *here.children(recursive=True)) for one in process.net_connections()]
    assert {one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
    return sorted({one.laddr.port for one in connections if one.status == psutil.CONN_LISTEN})


def heard(port: int, said: bytes, context: ssl.SSLContext | None = None) -> bytes:
    """What a port answers; nothing where it hangs up, or refuses a certificate."""
    with socket.create_connection(("127.0.0.1", port), _WITHIN_S) as plain:
        try:
            with plain if context is None else context.wrap_socket(plain) as stream:
                stream.sendall(said)
                return stream.recv(1024)
        except (ConnectionError, ssl.SSLError):
            return b""


def test_scheduler_nanny_and_worker_answer_no_plain_word_and_nothing_else_listens(ours: Pool) -> None:
    ports = listening()
    assert len(ports) == 3
    for port in ports:
        for said in (b"GET /info/main/workers.html HTTP/1.0\r\n\r\n", bytes(64)):
            assert heard(port, said)[:1] in (b"", ALERT)


def test_the_key_of_another_run_opens_no_port_and_does_not_pass_for_one(ours: Pool) -> None:
    asking = run_keys().get_connection_args("client")["ssl_context"]
    for port in listening():
        with pytest.raises(ssl.SSLCertVerificationError), socket.create_connection(("127.0.0.1", port)) as plain:
            asking.wrap_socket(plain)
    asking.verify_mode = ssl.CERT_NONE  # one who asks does not mind whom
    for port in listening():
        assert heard(port, b"x" * 64, asking) == b""


def test_a_second_run_beside_it_has_another_key_and_both_go_on(ours: Pool) -> None:
    port = int(ours.open().scheduler.address.rpartition(":")[2])
    with Pool(None, EngineConfig(), [], lambda told: None) as second:
        for client, answered in ((ours.open(), True), (second.open(), False)):
            context = client.security.get_connection_args("client")["ssl_context"]
            context.verify_mode = ssl.CERT_NONE
            assert (
                bool(heard(port, b"", context)) is answered
            )  # a scheduler speaks first: it says how it may be spoken to
    assert ours.open().submit(len, "another").result() == 7
