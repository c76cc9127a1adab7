"""`biam-pipe download` on a list in which every second address leads to a fault: statuses, deadline, memory.

    python -m benchmarks.faults --rows 100

Each behaviour of the fault server (and a certificate that nobody vouches for, a name that does not resolve, a port that
nobody listens on) has so many rows, among as many good images, in random order. A row's time is what its server saw:
from its first request to the end of its last answer, or until the downloader left.
"""

import argparse
import multiprocessing
import random
import socket
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.fault_server import serving
from benchmarks.measured import Measured, biam_pipe

# By the path that the server knows it by; {} becomes the number of the row.
BEHAVIOURS = {
    "code/404/{}": "not_found",
    "code/410/{}": "gone",
    "code/403/{}": "forbidden",
    "code/500/{}": "server_error",
    "limited-once/{}": "ok",
    "limited-for-long/{}": "rate_limited",
    "broken-once/{}": "ok",
    "reset-in-the-body/{}": "truncated_body",
    "reset-once/{}": "ok",
    "truncated/{}": "truncated_body",
    "longer-than-announced/{}": "ok",
    "late/{}": "ok",
    "silent/{}": "timeout",
    "stalled/{}": "timeout",
    "trickle/{}": "timeout",
    "closed/{}": "connection_error",
    "no-http/{}": "http_error",
    "endless/{}": "too_large",
    "announced-large/{}": "too_large",
    "moved/{}": "ok",
    "circle/{}a": "bad_redirect",
    "hop/{}0": "bad_redirect",
    "to-file/{}": "bad_redirect",
    "to-nowhere/{}": "bad_redirect",
    "to-the-cloud/{}": "private_address",
    "to-a-placeholder/{}": "placeholder",
    "page/{}": "not_an_image",
    "empty/{}": "empty",
    "gzip-bomb/{}": "http_error",
    "megapixels/{}": "too_many_pixels",
}
GOOD = "ok/{}"


def serve(pipe: Connection) -> None:
    """Serve until asked for what was seen: addresses first, then seconds by path."""
    with serving() as plain, serving(tls=True) as secure:
        pipe.send((plain.base, secure.base))
        pipe.recv()
        with plain.lock:
            pipe.send(dict(plain.seconds))


def rows(plain: str, secure: str, each: int) -> dict[str, str]:
    """Behaviour by address, in random order."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kinds = {path: f"{plain}/{path}" for path in BEHAVIOURS}
    kinds |= {
        "bad certificate": f"{secure}/ok/{{}}",
        "unknown name": "http://nowhere-{}.invalid/a.jpg",
        "refused": f"http://127.0.0.1:{port}/{{}}",
    }
    found = {address.format(number): kind for kind, address in kinds.items() for number in range(each)}
    good = range(2, 2 + each * len(kinds))  # others are redirected to ok/1
    found |= {f"{plain}/{GOOD}".format(number): GOOD for number in good}
    order = list(found)
    random.Random(0).shuffle(order)
    return {address: found[address] for address in order}


def download(addresses: Sequence[str], folder: Path, timeout_s: float) -> tuple[dict[str, str], Measured]:
    """Status by address, and what the command took."""
    labels = folder / "labels.csv"
    labels.write_text("image,labels\n" + "".join(f"{address},x\n" for address in addresses))
    sets = {
        "dataset.labels": labels,
        "download.allowed_networks": '["127.0.0.0/8"]',
        "download.timeout_s": timeout_s,
    }
    took = biam_pipe("download", "--dataset", "folder", "--work", str(folder / "work"), "--json", sets=sets, codes=(3,))
    tables = [pq.read_table(path) for path in (folder / "work/folder/downloads").glob("shard-*.parquet")]
    return {one["image_id"]: one["status"] for table in tables for one in table.to_pylist()}, took


def tell(kinds: Mapping[str, str], statuses: Mapping[str, str]) -> None:
    """A line for each behaviour."""
    expected = BEHAVIOURS | {
        GOOD: "ok", "bad certificate": "tls_error", "unknown name": "dns_error", "refused": "connection_error",
    }  # fmt: skip
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for address, kind in kinds.items():
        counts[kind][statuses.get(address, "lost")] += 1
    for kind in expected:
        got = ", ".join(f"{status} {count}" for status, count in counts[kind].most_common())
        note = "" if set(counts[kind]) == {expected[kind]} else f"   EXPECTED {expected[kind]}"
        print(f"{kind.replace('{}', 'N'):<26}{got}{note}")


def main() -> None:
    """Serve, download, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100, help="of each behaviour")
    parser.add_argument("--timeout", type=float, default=10.0, help="download.timeout_s")
    arguments = parser.parse_args()
    pipe, end = multiprocessing.Pipe()
    multiprocessing.get_context("spawn").Process(target=serve, args=(end,), daemon=True).start()
    end.close()  # so that a server that dies is an error here, and not a wait
    plain, secure = pipe.recv()
    kinds = rows(plain, secure, arguments.rows)
    with tempfile.TemporaryDirectory() as name:
        statuses, took = download(list(kinds), Path(name), arguments.timeout)
    pipe.send("what was seen?")
    slowest = max((seconds, path) for path, seconds in pipe.recv().items() if plain + path in kinds)
    tell(kinds, statuses)
    print(f"{len(kinds)} rows: {took}")
    print(f"slowest row: {slowest[0]:.2f} s ({slowest[1]}); deadline {arguments.timeout:g} s")


if __name__ == "__main__":
    main()
