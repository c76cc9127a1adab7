"""Fetch, extract and commit N loopback images: images/s of each stage, how much they overlap, peak memory.

    python -m benchmarks.throughput --images 1000 5000

The pictures come from a server process of this benchmark; a tiny random backbone stands in for VGG-19, so that the
pipeline itself is what is measured. Memory is that of the whole process tree of `biam-pipe` (proportional set size,
so that pages which processes share count once), sampled while it runs.
"""

import argparse
import io
import multiprocessing
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.measured import biam_pipe
from schemas.receipts import Receipt, under_way_s

DISTINCT = 64


def serve(pipe: Connection) -> None:
    """Answer every path with one of a few photographs-like JPEGs of 500 to 1,024 px."""
    random = np.random.default_rng(0)
    bodies = [_jpeg(random) for _ in range(DISTINCT)]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = bodies[int(self.path.split("-")[-1].split(".")[0]) % DISTINCT]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 1024  # the default of 5 drops connections, and clients wait seconds to repeat them

    server = Server(("127.0.0.1", 0), Handler)
    pipe.send((server.server_address[1], sum(map(len, bodies)) / DISTINCT))
    server.serve_forever()


def _jpeg(random: np.random.Generator) -> bytes:
    width, height = (int(side) for side in random.integers(500, 1025, 2))
    coarse = Image.fromarray(random.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8))
    file = io.BytesIO()
    coarse.resize((width, height), Image.Resampling.BICUBIC).save(file, "JPEG", quality=92)
    return file.getvalue()


def run(images: int, port: int, folder: Path) -> None:
    """One cold run over so many images; prints its figures."""
    lines = [f"http://127.0.0.1:{port}/image-{number}.jpg,something" for number in range(images)]
    labels = folder / "labels.csv"
    labels.write_text("image,labels\n" + "\n".join(lines) + "\n")
    settings = {
        "dataset.shard_images": 250,
        "dataset.labels": labels,
        "download.allowed_networks": '["127.0.0.0/8"]',
        "backbone.name": "tiny",
        "backbone.weights": "random:0",
    }
    work = str(folder / "work")
    took = biam_pipe("extract", "--dataset", "folder", "--work", work, "--json", sets=settings)
    print(f"{images} images in {took}, start-up included: {images / took.seconds:.0f}/s")
    shards = {name: _shards(next((folder / "work/folder").glob(pattern))) for name, pattern in STAGES.items()}
    busy = {name: under_way_s(receipts) for name, receipts in shards.items()}
    for name, seconds in busy.items():
        print(f"  {name}: {images / seconds:.0f} images/s while busy ({seconds:.1f} s)")
    both = sum(busy.values()) - under_way_s([one for receipts in shards.values() for one in receipts])
    print(f"  overlap: {both / min(busy.values()):.0%} of the shorter stage's time ran beside the other")


STAGES = {"download": "downloads/stage.parquet", "extract": "features/*/*/stage.parquet"}


def _shards(record: Path) -> list[Receipt]:
    receipts = [Receipt.model_validate_json(text) for text in pq.read_table(record)["receipt"].to_pylist()]
    return [receipt for receipt in receipts if receipt.shard is not None]


def main() -> None:
    """Serve, then run each size in a work folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 5000])
    arguments = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    port, mean = ours.recv()
    print(f"{psutil.cpu_count()} CPUs; images of {mean / 1000:.0f} kB in the mean, shards of 250, tiny random backbone")
    for images in arguments.images:
        with tempfile.TemporaryDirectory() as folder:
            run(images, port, Path(folder))


if __name__ == "__main__":
    main()
