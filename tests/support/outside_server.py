"""Files on loopback, by a server that heeds ranges; and some that are not as they should be."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class OutsideServer:
    """What a test sees of the server.

    Attributes:
        base: its address.
        files: by path; None is never answered.
        ranged: whether it heeds ranges.
        headers: of every answer, such as another `Date`.
        ranges: that were asked for, by path.
    """

    base: str = ""
    files: dict[str, bytes | None] = field(default_factory=dict)
    ranged: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    ranges: dict[str, str | None] = field(default_factory=dict)
    ended: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving() -> Iterator[OutsideServer]:
    """The server, for as long as the block lasts."""
    server = OutsideServer()
    handler = type("Handler", (_Handler,), {"state": server})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        server.base = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            http.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    state: OutsideServer

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        self.state.ranges[self.path] = asked
        if self.path not in self.state.files:
            self.send_error(404)
            return
        body = self.state.files[self.path]
        if body is None:
            self.state.ended.wait()
            return
        sent = body
        if asked is not None and self.state.ranged and body:
            sent = body[: int(asked.rpartition("-")[2]) + 1]
        self.send_response_only(200 if sent is body else 206)
        if sent is not body:
            self.send_header("Content-Range", f"bytes 0-{len(sent) - 1}/{len(body)}")
        for name, value in {"Date": self.date_time_string(), **self.state.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
