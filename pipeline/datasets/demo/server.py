"""A small http server on 127.0.0.1 that draws the demo's pictures when they are asked for."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any

from pipeline.datasets.demo.addresses import VECTORS_ADDRESS, picture_number
from pipeline.datasets.demo.drawing import jpeg
from pipeline.datasets.demo.scene import scene
from pipeline.datasets.demo.settings import DemoDataset
from pipeline.datasets.demo.vectors import glove_text

_POLL_S = 0.05


@contextmanager
def serve(config: DemoDataset) -> Iterator[str]:
    """Address of a running server, without a slash at its end; answers in progress are finished before it closes."""
    with _Server(config) as server:
        thread = threading.Thread(target=server.serve_forever, args=(_POLL_S,), name="demo server", daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingTCPServer):
    """One thread a connection. Not http.server's own class: that one asks DNS for the name of the machine."""

    allow_reuse_address = True
    request_queue_size = 128  # the default of 5 makes a downloader's burst wait a second for its connections

    def __init__(self, config: DemoDataset) -> None:
        self.config = config
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news; anything else is printed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    timeout = 5.0  # seconds until a silent client is given up, so that closing never waits for long
    server: _Server

    def do_GET(self) -> None:
        """Answer with a picture, the word vectors, or 404."""
        config = self.server.config
        number = picture_number(self.path, config.seed, config.num_images)
        if number is not None:
            self._answer("image/jpeg", jpeg(scene(config.seed, number)))
        elif self.path == f"/{VECTORS_ADDRESS}":
            self._answer("text/plain; charset=utf-8", glove_text())
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _answer(self, kind: str, data: bytes) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing: the download stage reports."""
