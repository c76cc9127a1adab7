"""Files from outside, over loopback http, by a server that can cut answers, forget versions and refuse."""

import hashlib
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.machine.stopping import watching_signals
from pipeline.machine.telling import heard_by
from pipeline.net.address import proxy_for
from pipeline.net.fetch import CACHE_VARIABLE, cache_folder, fetch, fetching, kept_name
from schemas.config import DownloadConfig
from schemas.errors import IntegrityError, InterruptedRunError, PipelineError

BODY = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(BODY).hexdigest()
QUICK = DownloadConfig(backoff_s=0.001)
LOOPBACK = DownloadConfig(backoff_s=0.001, allowed_networks=("127.0.0.0/8",))


@dataclass
class FileServer:
    """One file. `script` holds how to answer the next requests; afterwards all go well."""

    address: str = ""
    body: bytes = BODY
    tag: str | None = '"v1"'
    script: list[int | str] = field(default_factory=list)
    modified: str | None = None
    encoding: str | None = None
    ranges: list[str | None] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    headers: Message = field(default_factory=Message)


class _Handler(BaseHTTPRequestHandler):
    file: FileServer

    def do_GET(self) -> None:
        file = self.file
        file.ranges.append(self.headers["Range"])
        file.paths.append(self.path)
        file.headers = self.headers
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
        if (asked := self.headers["Range"]) and self.headers["If-Range"] in (file.tag, file.modified):
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
        if file.modified is not None:
            self.send_header("Last-Modified", file.modified)
        if file.encoding is not None:
            self.send_header("Content-Encoding", file.encoding)
        self.send_header("Content-Length", str(len(file.body) - start))
        self.end_headers()
        self.wfile.write(file.body[start : start + 300_000] if act == "cut" else file.body[start:])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(autouse=True)
def waits_are_short() -> Iterator[None]:
    with fetching(QUICK):
        yield


def at_once(attempts: int = 1) -> AbstractContextManager[None]:
    return fetching(QUICK.model_copy(update={"attempts": attempts}))


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
    with at_once(attempts=5):
        target = fetch(server.address, tmp_path / "weights.bin", SHA256)
    assert target.read_bytes() == BODY
    assert server.ranges == [None, None, "bytes=300000-", "bytes=300000-", "bytes=600000-"]


def test_what_a_killed_run_left_is_resumed_by_the_next(server: FileServer, tmp_path: Path) -> None:
    server.script = ["cut"]
    with at_once(), pytest.raises(PipelineError, match="300000 of 1048576 bytes"):
        fetch(server.address, tmp_path / "weights.bin")
    assert fetch(server.address, tmp_path / "weights.bin").read_bytes() == BODY
    assert server.ranges == [None, "bytes=300000-"]


@pytest.mark.parametrize("tag", ['W/"v1"', None])
def test_a_server_that_cannot_prove_the_version_is_asked_for_the_whole(
    server: FileServer, tmp_path: Path, tag: str | None
) -> None:
    server.tag, server.script = tag, ["cut"]
    assert fetch(server.address, tmp_path / "weights.bin", SHA256).read_bytes() == BODY
    assert server.ranges == [None, None]


def test_a_server_that_always_cuts_and_proves_nothing_is_given_up(server: FileServer, tmp_path: Path) -> None:
    server.tag, server.script = None, ["cut"] * 9
    with at_once(attempts=3), pytest.raises(PipelineError, match="announced end, after 300000 of 1048576 bytes"):
        fetch(server.address, tmp_path / "weights.bin")
    assert server.ranges == [None] * 3


def test_a_file_that_changed_in_between_is_fetched_anew(server: FileServer, tmp_path: Path) -> None:
    server.script = ["cut"]
    with at_once(), pytest.raises(PipelineError):
        fetch(server.address, tmp_path / "weights.bin")
    server.body, server.tag = BODY[::-1], '"v2"'
    assert fetch(server.address, tmp_path / "weights.bin").read_bytes() == BODY[::-1]
    assert server.ranges == [None, "bytes=300000-"]


def test_a_file_whole_but_for_its_name_and_an_odd_range_are_fetched_anew(server: FileServer, tmp_path: Path) -> None:
    server.script = ["cut", "other range"]
    assert fetch(server.address, tmp_path / "weights.bin", SHA256).read_bytes() == BODY
    (tmp_path / "weights.bin").rename(tmp_path / "weights.bin.partial")
    (tmp_path / "weights.bin.partial.json").write_text(f'{{"address": "{server.address}", "version": "\\"v1\\""}}')
    assert fetch(server.address, tmp_path / "weights.bin", SHA256).read_bytes() == BODY
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
    with at_once(attempts=2), pytest.raises(PipelineError, match="got no connection: connection refused"):
        fetch(f"http://127.0.0.1:{port}/weights.bin", tmp_path / "weights.bin")


def test_redirects_are_followed_to_http_only(server: FileServer, tmp_path: Path) -> None:
    server.script = [f"{server.address}?signed"]
    with fetching(LOOPBACK):
        assert fetch(server.address, tmp_path / "weights.bin").read_bytes() == BODY
    server.script = ["ftp://127.0.0.1/weights.bin"]
    with pytest.raises(PipelineError, match="got the scheme 'ftp', redirected to ftp://"):
        fetch(server.address, tmp_path / "other.bin")
    assert len(server.ranges) == 3


def test_a_cut_body_is_resumed_from_the_first_address_whatever_it_redirected_to(
    server: FileServer, tmp_path: Path
) -> None:
    server.script = [f"{server.address}?signed=1", "cut", f"{server.address}?signed=2"]
    with fetching(LOOPBACK):
        assert fetch(server.address, tmp_path / "weights.bin", SHA256).read_bytes() == BODY
    assert server.paths == [f"/weights.bin{query}" for query in ("", "?signed=1", "", "?signed=2")]
    assert server.ranges == [None, None, "bytes=300000-", "bytes=300000-"]


def test_a_private_address_of_the_settings_is_asked_and_may_not_redirect_to_another(
    server: FileServer, tmp_path: Path
) -> None:
    server.script = ["http://10.1.2.3/weights.bin"]
    message = r"private, .* and download\.allowed_networks does not list its network, redirected to http://10\.1\.2\.3/"
    with pytest.raises(PipelineError, match=message):
        fetch(server.address, tmp_path / "weights.bin")
    port = server.address.rpartition(":")[2]
    server.script = [f"http://localhost:{port}"]  # a name tells where it leads only when it is resolved
    with pytest.raises(PipelineError, match=f"private, .* redirected to http://localhost:{port}"):
        fetch(server.address, tmp_path / "weights.bin")
    assert len(server.ranges) == 2


def test_official_files_come_by_the_proxy_of_the_environment(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.address.removesuffix("/weights.bin"))
    assert fetch("http://outside.example/lists/labels.csv", tmp_path / "labels.csv").read_bytes() == BODY
    assert server.paths == ["http://outside.example/lists/labels.csv"]


def test_requests_name_their_sender_and_want_the_body_as_it_is(server: FileServer, tmp_path: Path) -> None:
    with fetching(QUICK.model_copy(update={"user_agent": "me@example"})):
        fetch(server.address, tmp_path / "weights.bin")
    assert server.headers["User-Agent"] == "me@example"
    assert server.headers["Accept-Encoding"] == "identity"


def test_an_encoded_body_is_refused(server: FileServer, tmp_path: Path) -> None:
    server.encoding = "gzip"
    with pytest.raises(
        PipelineError, match=r"got the body is encoded as 'gzip', expected none\. Download it by hand to"
    ):
        fetch(server.address, tmp_path / "weights.bin")
    assert len(server.ranges) == 1


def test_an_encoding_that_is_none_is_no_obstacle(server: FileServer, tmp_path: Path) -> None:
    server.encoding = "UTF-8"
    assert fetch(server.address, tmp_path / "weights.bin").read_bytes() == BODY


@pytest.mark.parametrize("written", [" {}/caf\u00e9 1.csv\n", "{}/caf%C3%A9%201.csv"])
def test_official_files_are_asked_for_as_images_are(written: str, server: FileServer, tmp_path: Path) -> None:
    base = server.address.removesuffix("/weights.bin")
    assert fetch(written.format(base), tmp_path / "list.csv").read_bytes() == BODY
    server.script = [f"{base}/caf\u00e9 2.csv"]
    with fetching(LOOPBACK):
        assert fetch(server.address, tmp_path / "other.csv").read_bytes() == BODY
    assert server.paths == ["/caf%C3%A9%201.csv", "/weights.bin", "/caf%C3%A9%202.csv"]


def test_a_version_that_no_request_can_repeat_is_none(server: FileServer, tmp_path: Path) -> None:
    server.tag, server.script = '"caf\u00e9"', ["cut"]
    assert fetch(server.address, tmp_path / "weights.bin", SHA256).read_bytes() == BODY
    assert server.ranges == [None, None]


@pytest.mark.parametrize("address", ["http://[::1", "http://a.example/\x1b[2J", f"http://a.example/{'a' * 8_000_000}"])
def test_a_malformed_address_is_an_error_that_a_terminal_can_show(address: str, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"could not fetch http://.*: got (not a valid|an) address") as raised:
        fetch(address, tmp_path / "weights.bin")
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 2000


def test_what_servers_and_files_say_is_shown_without_what_a_terminal_would_obey(
    server: FileServer, tmp_path: Path
) -> None:
    server.script = ["ftp://\x1b[2J"]
    with pytest.raises(PipelineError, match=r"control character, redirected to ftp://\\x1b\[2J") as raised:
        fetch(server.address, tmp_path / "weights.bin")
    assert str(raised.value).isprintable()
    path = fetch(server.address, tmp_path / "\x1b[2J.bin")
    path.with_name(f"{path.name}.sha256").write_text("\x1b[2J")
    with pytest.raises(IntegrityError, match=rf"got sha256 {SHA256}, expected \\x1b\[2J") as damaged:
        fetch(server.address, path)
    assert str(damaged.value).isprintable()


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://a.example/lists/labels.csv?raw=1#top", "labels.csv"),
        ("https://a.example/caf\u00e9 1.csv ", "caf__1.csv"),
        ("https://a.example", "file"),
        ("https://[::1/a?b", "a"),
        (f"https://a.example/{'a' * 300}.csv", f"{'a' * 76}.csv"),
    ],
)
def test_a_fetched_file_is_kept_under_a_name_that_any_file_system_takes(address: str, name: str) -> None:
    assert kept_name(address, "file") == name


def test_a_file_modified_at_a_known_time_is_resumed_by_it(server: FileServer, tmp_path: Path) -> None:
    server.tag, server.modified, server.script = None, "Sun, 06 Nov 1994 08:49:37 GMT", ["cut"]
    assert fetch(server.address, tmp_path / "weights.bin", SHA256).read_bytes() == BODY
    assert server.ranges == [None, "bytes=300000-"]


def test_a_file_on_its_way_tells_how_far_it_is(server: FileServer, tmp_path: Path) -> None:
    told: list[tuple[int, int | None, str]] = []
    server.script = ["cut"]
    with heard_by(lambda *said: told.append(said)):
        fetch(server.address, tmp_path / "weights.bin")
    assert told[-1] == (1_048_576, 1_048_576, "fetching 1.0 of 1.0 million bytes")
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)


def test_a_fetch_stops_when_asked_to_and_goes_on_later(server: FileServer, tmp_path: Path) -> None:
    def stop(done: int, total: int | None, text: str) -> None:
        signal.raise_signal(signal.SIGTERM)

    server.script = ["cut"]
    with heard_by(stop), watching_signals(), pytest.raises(InterruptedRunError):
        fetch(server.address, tmp_path / "weights.bin")
    kept_bytes = (tmp_path / "weights.bin.partial").stat().st_size
    assert 0 < kept_bytes <= 300_000
    assert fetch(server.address, tmp_path / "weights.bin", SHA256).read_bytes() == BODY
    assert server.ranges == [None, f"bytes={kept_bytes}-"]


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


class KeptOpen(BaseHTTPRequestHandler):
    """Redirects to itself by the same name, over a connection that stays open."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        redirects = self.path == "/first"
        self.send_response(302 if redirects else 200)
        if redirects:
            self.send_header("Location", "/second?signature=secret")
        self.send_header("Content-Length", "0" if redirects else "4")
        self.end_headers()
        if not redirects:
            self.wfile.write(b"data")

    def log_message(self, *_: object) -> None:
        pass


def test_a_redirect_into_a_private_network_is_refused_over_a_connection_that_is_open_already(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), KeptOpen) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with pytest.raises(
                PipelineError, match="allowed_networks does not list its network, redirected to http://localhost:"
            ) as raised:
                fetch(f"http://localhost:{server.server_port}/first", tmp_path / "f")
        finally:
            server.shutdown()
    assert "secret" not in str(raised.value)


def test_a_torn_memory_of_a_partial_file_makes_it_begin_anew(tmp_path: Path) -> None:
    (tmp_path / "f.partial").write_bytes(b"old")
    (tmp_path / "f.partial.json").write_text('{"addr')
    with ThreadingHTTPServer(("127.0.0.1", 0), KeptOpen) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            assert fetch(f"http://127.0.0.1:{server.server_port}/other", tmp_path / "f").read_bytes() == b"data"
        finally:
            server.shutdown()
