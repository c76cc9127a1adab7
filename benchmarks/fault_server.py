"""An image server on loopback that does what servers in the wild do; the path says what."""

import select
import socket
import ssl
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qsl, urlsplit

from PIL import Image


def picture(number: int = 0) -> bytes:
    """A JPEG of 8 x 6 pixels; each number has its own bytes."""
    out = BytesIO()
    Image.new("RGB", (8, 6), (number * 7 % 256, 99, 200)).save(out, "JPEG")
    return out.getvalue()


def header_of_900_megapixels() -> bytes:
    """A PNG whose header announces 30,000 x 30,000 pixels, and which holds none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@dataclass
class FaultServer:
    """What tests and benchmarks see of the server.

    Attributes:
        base: its address.
        requests: by path.
        connections: opened so far.
        mended: once set, what is mendable answers with its picture.
        held: one more for each request that waits for `released`.
        seconds: by path, from its first request to the end of its last answer, or until its client left.
        files: what `archive...` paths serve, by path.
        most_at_once: the largest number of requests that were under way together.
    """

    base: str = ""
    requests: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    most_at_once: int = 0
    at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    released: threading.Event = field(default_factory=threading.Event)
    mended: threading.Event = field(default_factory=threading.Event)
    held: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    seconds: dict[str, float] = field(default_factory=dict)
    asked_at: dict[str, float] = field(default_factory=dict)


@contextmanager
def serving(*, tls: bool = False) -> Iterator[FaultServer]:
    """The server, for as long as the block lasts; with `tls` its certificate is signed by nobody but itself."""
    server = FaultServer()
    handler = type("Handler", (_Handler,), {"server_state": server})
    with _Server(("127.0.0.1", 0), handler) as http:
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(Path(__file__).with_name("self_signed.pem"))
            http.socket = context.wrap_socket(http.socket, server_side=True, do_handshake_on_connect=False)
        server.base = f"{'https' if tls else 'http'}://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            http.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # the default of 5 drops connections that come at once; each is tried again after 1 s
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server_state: FaultServer

    def setup(self) -> None:
        super().setup()
        with self.server_state.lock:
            self.server_state.connections += 1

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        state = self.server_state
        with state.lock:
            state.requests[self.path] += 1
            state.at_once += 1
            state.most_at_once = max(state.most_at_once, state.at_once)
            state.asked_at.setdefault(self.path, time.monotonic())
        self.close_connection = False
        with suppress(ConnectionError):
            self._behaviour()()
        with state.lock:
            state.at_once -= 1
            state.seconds[self.path] = time.monotonic() - state.asked_at[self.path]

    def handle(self) -> None:
        with suppress(ConnectionError, ssl.SSLError):
            super().handle()

    def _behaviour(self) -> Callable[[], None]:
        name = PurePosixPath(urlsplit(self.path).path).parts[1]  # to a proxy the path is the whole address
        return getattr(self, f"_{name.replace('-', '_')}")

    @property
    def _first_time(self) -> bool:
        return self.server_state.requests[self.path] == 1

    def _send(self, body: bytes, code: int = 200, length: int | None = None, **headers: str) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _ok(self) -> None:
        self._send(picture(int(PurePosixPath(self.path).stem)))

    def _vectors(self) -> None:
        self._send(b"red 3 0 4\n")

    def _code(self) -> None:
        self._send(b"no", int(PurePosixPath(self.path).parts[2]))

    def _limited_once(self) -> None:
        self._send(b"", 429, Retry_After="0") if self._first_time else self._send(picture())

    def _limited_for_long(self) -> None:
        self._send(b"", 429, Retry_After="3600")

    def _broken_once(self) -> None:
        self._send(b"", 500) if self._first_time else self._send(picture())

    def _code_once(self) -> None:
        self._code() if self._first_time else self._send(picture())

    def _headed(self, code: int = 200) -> None:
        """A picture with the headers that the query lists."""
        self.send_response(code)
        for name, value in parse_qsl(urlsplit(self.path).query, encoding="latin-1"):
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(picture())))
        self.end_headers()
        self.wfile.write(picture())

    def _to(self) -> None:
        self._headed(302)

    def _missing(self) -> None:
        self._headed(404)

    def _interim_first(self) -> None:
        self.wfile.write(
            b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\nContent-Encoding: gzip\r\nX-Robots-Tag: noai\r\n\r\n"
        )
        self._send(picture())

    def _interim_alone(self) -> None:
        self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nX-Robots-Tag: noai\r\n\r\n")
        self.close_connection = True

    def _interim_then_chunks(self) -> None:
        self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n")
        self._trailed(b"")

    def _trailed(
        self, trailers: bytes = b"Content-Encoding: gzip\r\nX-Robots-Tag: noai\r\nContent-Length: 1\r\n"
    ) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(picture()), picture(), trailers))

    def _mendable(self) -> None:
        self._send(picture()) if self.server_state.mended.is_set() else self._send(b"", 503)

    def _reset_in_the_body(self) -> None:
        self._send(picture()[:100], length=5000)
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def _reset_once(self) -> None:
        self._reset_in_the_body() if self._first_time else self._send(picture())

    def _truncated(self) -> None:
        self._send(picture()[:100], length=5000)
        self.close_connection = True

    def _longer_than_announced(self) -> None:
        self._send(picture() + b"more", length=len(picture()))
        self.close_connection = True

    def _stalled(self) -> None:
        self._send(picture()[:100], length=5000)
        self._wait_for_the_client_to_leave()

    def _trickle(self) -> None:
        self._send(picture()[:1], length=5000)
        while not self._client_leaves_within(1.0):
            self.wfile.write(b"x")

    def _silent(self) -> None:
        self._wait_for_the_client_to_leave()

    def _late(self) -> None:
        if not self._client_leaves_within(0.1):
            self._send(picture())

    def _held(self) -> None:
        self.server_state.held.release()
        self.server_state.released.wait()
        self._send(picture())

    def _client_leaves_within(self, seconds: float) -> bool:
        """Whether it closes the connection; nothing else comes from a client that waits for its answer."""
        self.close_connection = True
        return self.server_state.released.is_set() or bool(select.select([self.connection], [], [], seconds)[0])

    def _wait_for_the_client_to_leave(self) -> None:
        while not self._client_leaves_within(0.05):
            continue

    def _closed(self) -> None:
        self.close_connection = True

    def _endless(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while not self.server_state.released.is_set():
            self.wfile.write(b"10000\r\n" + bytes(65536) + b"\r\n")

    def _announced_large(self) -> None:
        self._send(b"", length=10**12)
        self.close_connection = True

    def _moved(self) -> None:
        self._send(b"", 302, Location="../ok/1")

    def _circle(self) -> None:
        self._send(b"", 301, Location="/circle/" + ("b" if self.path.endswith("a") else "a"))

    def _hop(self) -> None:
        self._send(b"", 307, Location=f"/hop/{int(PurePosixPath(self.path).name) + 1}")

    def _to_file(self) -> None:
        self._send(b"", 302, Location="file:///etc/hostname")

    def _to_nowhere(self) -> None:
        self._send(b"", 302, Location="http://[nowhere/")

    def _to_the_cloud(self) -> None:
        self._send(b"", 302, Location="http://169.254.169.254/latest/meta-data/")

    def _to_a_placeholder(self) -> None:
        self._send(b"", 302, Location="/images/photo_unavailable_l.png")

    def _page(self) -> None:
        self._send(b"<!doctype html><title>photo unavailable</title>", Content_Type="image/jpeg")

    def _empty(self) -> None:
        self._send(b"")

    def _gzip_bomb(self) -> None:
        squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
        body = squeeze.compress(bytes(10_000_000)) + squeeze.flush()
        self._send(body, Content_Encoding="gzip")

    def _megapixels(self) -> None:
        self._send(header_of_900_megapixels())

    def _archive(self, until: int | None = None, etag: str = '"one"') -> None:
        """A file or the rest of it from a byte on, as a bucket gives it; the connection breaks at byte `until`."""
        whole = self.server_state.files[self.path]
        resumed = self.headers["If-Range"] == etag and self.headers["Range"] is not None
        start = int(self.headers["Range"][len("bytes=") : -1]) if resumed else 0
        place = {"Content_Range": f"bytes {start}-{len(whole) - 1}/{len(whole)}"} if resumed else {}
        self._send(whole[start:until], 206 if resumed else 200, len(whole) - start, ETag=etag, **place)
        self.close_connection = until is not None

    def _archive_broken_twice(self) -> None:
        requests = self.server_state.requests[self.path]
        self._archive(len(self.server_state.files[self.path]) * requests // 3 if requests < 3 else None)

    def _archive_broken(self) -> None:
        self._archive(len(self.server_state.files[self.path]) // 2)

    def _archive_changed(self) -> None:
        self._archive(len(self.server_state.files[self.path]) // 2, etag=f'"{self.server_state.requests[self.path]}"')

    def _archive_stalled(self) -> None:
        whole = self.server_state.files[self.path]
        self._send(whole[: len(whole) // 2], length=len(whole))
        self._wait_for_the_client_to_leave()

    def _no_http(self) -> None:
        self.wfile.write(b"220 mail.example ESMTP\r\n\r\n")
        self.close_connection = True
