"""Files from outside, over loopback http, by a server that can cut answers, forget versions and refuse."""

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.net.fetch import CACHE_VARIABLE, cache_folder, fetch, proxy_for
from schemas.errors import IntegrityError, PipelineError

BODY = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(BODY).hexdigest()


@dataclass
class FileServer:
    """One file. `script` holds how to answer the next requests; afterwards all go well."""

    address: str = ""
    body: bytes = BODY
    tag: str | None = '"v1"'
    script: list[int | str] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    file: FileServer

    def do_GET(self) -> None:
        file = self.file
        file.ranges.append(self.headers["Range"])
        act = file.script.pop(0) if file.script else "whole"
        if isinstance(act, int):
            self.send_error(act)
        elif act.startswith(("http", "ftp")):
            self.send_response(302)
            self.send_header("Location", act)
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._send(act)

    def _send(self, act: str) -> None:
        file = self.file
        start = 0
        if (asked := self.headers["Range"]) and self.headers["If-Range"] == file.tag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        if start and start >= len(file.body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            shown = start + 1 if act == "other range" else start
            self.send_header("Content-Range", f"bytes {shown}-{len(file.body) - 1}/{len(file.body)}")
        if file.tag is not None:
            self.send_header("ETag", file.tag)
        self.send_header("Content-Length", str(len(file.body) - start))
        self.end_headers()
        self.wfile.write(file.body[start : start + 300_000] if act == "cut" else file.body[start:])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[FileServer]:
    file = FileServer()
    handler = type("Handler", (_Handler,), {"file": file})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        file.address = f"http://127.0.0.1:{http.server_port}/weights.bin"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield file
        http.shutdown()
        thread.join()


def test_a_file_is_fetched_once_and_its_hash_recorded(server: FileServer, tmp_path: Path) -> None:
    target = tmp_path / "new" / "weights.bin"
    assert fetch(server.address, target) == target
    assert target.read_bytes() == BODY
    assert fetch(server.address, target) == target
    assert len(server.ranges) == 1
    assert sorted(path.name for path in target.parent.iterdir()) == [
        "weights.bin",
        "weights.bin.lock",
        "weights.bin.sha256",
    ]


def test_a_file_that_changed_since_its_first_use_is_an_error(server: FileServer, tmp_path: Path) -> None:
    target = fetch(server.address, tmp_path / "weights.bin")
    target.write_bytes(b"other")
    with pytest.raises(IntegrityError, match=f"expected {SHA256}.*Remove .*weights.bin and weights.bin.sha256"):
        fetch(server.address, target)


@pytest.mark.parametrize("expected", [SHA256, SHA256.upper(), SHA256[:8]])
def test_a_whole_hash_or_the_start_of_one_is_checked(server: FileServer, tmp_path: Path, expected: str) -> None:
    assert fetch(server.address, tmp_path / "weights.bin", expected).read_bytes() == BODY


def test_wrong_bytes_are_never_left_under_the_files_name(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=f"got sha256 {SHA256}, expected 00000000"):
        fetch(server.address, tmp_path / "weights.bin", "00000000")
    assert [path.name for path in tmp_path.iterdir()] == ["weights.bin.lock"]


@pytest.mark.parametrize("expected", ["abc", "not a hash", ""])
def test_a_hash_too_short_to_prove_anything_is_an_error(server: FileServer, tmp_path: Path, expected: str) -> None:
    with pytest.raises(PipelineError, match="expected 8 to 64 hex digits"):
        fetch(server.address, tmp_path / "weights.bin", expected)
    assert server.ranges == []


def test_passing_faults_are_tried_again_and_cut_bodies_resumed(server: FileServer, tmp_path: Path) -> None:
    server.script = [503, "cut", 429, "cut"]
    target = fetch(server.address, tmp_path / "weights.bin", SHA256, attempts=5, backoff_s=0)
    assert target.read_bytes() == BODY
    assert server.ranges == [None, None, "bytes=300000-", "bytes=300000-", "bytes=600000-"]


def test_what_a_killed_run_left_is_resumed_by_the_next(server: FileServer, tmp_path: Path) -> None:
    server.script = ["cut"]
    with pytest.raises(PipelineError, match="300000 of 1048576 bytes"):
        fetch(server.address, tmp_path / "weights.bin", attempts=1)
    assert fetch(server.address, tmp_path / "weights.bin").read_bytes() == BODY
    assert server.ranges == [None, "bytes=300000-"]


@pytest.mark.parametrize("tag", ['W/"v1"', None])
def test_a_server_that_cannot_prove_the_version_is_asked_for_the_whole(
    server: FileServer, tmp_path: Path, tag: str | None
) -> None:
    server.tag, server.script = tag, ["cut"]
    assert fetch(server.address, tmp_path / "weights.bin", SHA256, backoff_s=0).read_bytes() == BODY
    assert server.ranges == [None, None]


def test_a_file_that_changed_in_between_is_fetched_anew(server: FileServer, tmp_path: Path) -> None:
    server.script = ["cut"]
    with pytest.raises(PipelineError):
        fetch(server.address, tmp_path / "weights.bin", attempts=1)
    server.body, server.tag = BODY[::-1], '"v2"'
    assert fetch(server.address, tmp_path / "weights.bin").read_bytes() == BODY[::-1]
    assert server.ranges == [None, "bytes=300000-"]


def test_a_file_whole_but_for_its_name_and_an_odd_range_are_fetched_anew(server: FileServer, tmp_path: Path) -> None:
    server.script = ["cut", "other range"]
    assert fetch(server.address, tmp_path / "weights.bin", SHA256, backoff_s=0).read_bytes() == BODY
    (tmp_path / "weights.bin").rename(tmp_path / "weights.bin.partial")
    (tmp_path / "weights.bin.partial.json").write_text(f'{{"address": "{server.address}", "version": "\\"v1\\""}}')
    assert fetch(server.address, tmp_path / "weights.bin", SHA256, backoff_s=0).read_bytes() == BODY
    assert server.ranges == [None, "bytes=300000-", None, "bytes=1048576-", None]


def test_a_lasting_fault_is_not_tried_again_and_its_text_says_the_way_out(server: FileServer, tmp_path: Path) -> None:
    server.script = [404]
    target = tmp_path / "weights.bin"
    message = f"got HTTP 404. Download it by hand to {target}, or set backbone.weights to the path of a copy"
    with pytest.raises(PipelineError, match=message):
        fetch(server.address, target, setting="backbone.weights")
    assert len(server.ranges) == 1


def test_a_refused_connection_is_an_error_after_all_attempts(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as http:
        port = http.server_port
    with pytest.raises(PipelineError, match="Connection refused"):
        fetch(f"http://127.0.0.1:{port}/weights.bin", tmp_path / "weights.bin", attempts=2, backoff_s=0)


def test_redirects_are_followed_to_http_only(server: FileServer, tmp_path: Path) -> None:
    server.script = [server.address]
    assert fetch(server.address, tmp_path / "weights.bin").read_bytes() == BODY
    server.script = ["ftp://127.0.0.1/weights.bin"]
    with pytest.raises(PipelineError, match="unknown url type: ftp"):
        fetch(server.address, tmp_path / "other.bin", attempts=1)


def test_threads_that_want_one_file_fetch_it_once(server: FileServer, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: fetch(server.address, tmp_path / "weights.bin", SHA256), range(8)))
    assert {path.read_bytes() for path in paths} == {BODY}
    assert len(server.ranges) == 1


def test_a_path_is_checked_and_stays_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(BODY)
    target = tmp_path / "cache" / "weights.bin"
    assert fetch(str(path), target, SHA256) == path
    assert not target.parent.exists()
    with pytest.raises(IntegrityError):
        fetch(str(path), target, "00000000")
    with pytest.raises(PipelineError, match=r"no file at .*none, expected one\. Check backbone\.weights"):
        fetch(str(tmp_path / "none"), target, setting="backbone.weights")


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv(CACHE_VARIABLE)
    assert cache_folder() == Path.home() / ".cache" / "biam-pipe"


def test_a_proxy_of_the_environment_is_used_except_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    assert proxy_for("https://outside.example/a.jpg") == "http://proxy:3128"
    assert proxy_for("https://inside.example/a.jpg") is None
    assert proxy_for("https://127.0.0.1:80/a.jpg") is None
    assert proxy_for("https://localhost/a.jpg") is None
