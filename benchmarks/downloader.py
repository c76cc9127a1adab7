"""`biam-pipe download` beside img2dataset 1.47: the same server, images and cores, raw bytes on both sides.

    python -m benchmarks.downloader --images 20000

img2dataset is installed in an environment of its own (--peer names its folder; made there if it is not). Both check
headers or keep bytes as they come, hash them with sha256, and write Parquet. Start-up is left out on both sides: ours
runs from the start of the first shard to the end of the last by their receipts, theirs by the times they write down.
"""

import argparse
import asyncio
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import pyarrow.parquet as pq

from benchmarks.measured import Measured, biam_pipe, measured

PEER = "img2dataset==1.47.0"
_SMALLEST, _LARGEST = 50_000, 200_000


def body_bytes(number: int) -> int:
    """Size of an image: 50 to 200 kB, evenly, the same on every run."""
    return _SMALLEST + number * 7919 % (_LARGEST - _SMALLEST)


class Images(asyncio.Protocol):
    """Answers GET /NUMBER.jpg with a JPEG of its own bytes, as cheaply as Python can."""

    head: bytes
    filling = memoryview(bytes(_LARGEST))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where answers go."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer; a client asks for one image at a time on a connection."""
        number = int(data[5 : data.index(b".jpg")])
        size, tail = body_bytes(number), b"%020d" % number
        start = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % size
        middle = self.filling[: size - len(self.head) - len(tail)]
        self.transport.writelines((start + self.head, middle, tail))


def serve(pipe: Connection) -> None:
    """Serve on a free port of loopback until killed."""
    import io

    import numpy as np
    from PIL import Image

    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((512, 384)).save(file, "JPEG", quality=30)
    Images.head = file.getvalue()
    assert len(Images.head) < _SMALLEST - 20

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Images, "127.0.0.1", 0, backlog=1024)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def ceiling(base: str, images: int) -> float:
    """Images/s of a client that does nothing with the bytes."""
    from pipeline.net.networks import Networks
    from pipeline.net.transfers import Transfers
    from schemas.config import DownloadConfig

    async def run() -> float:
        numbers = iter(range(images))
        transfers = Transfers(DownloadConfig(), 64, Networks(["127.0.0.0/8"]))

        async def fetch() -> None:
            for number in numbers:
                await transfers.get(f"{base}/{number}.jpg", None, 60)

        started = time.perf_counter()
        await asyncio.gather(*(fetch() for _ in range(64)))
        return images / (time.perf_counter() - started)

    return asyncio.run(run())


def ours(base: str, images: int, folder: Path, workers: int) -> tuple[float, Measured]:
    """Images/s while shards were under way, and what the command took."""
    labels = folder / "labels.csv"
    labels.write_text("image,labels\n" + "".join(f"{base}/{number}.jpg,x\n" for number in range(images)))
    sets = {
        "dataset.labels": labels,
        "download.allowed_networks": '["127.0.0.0/8"]',
        "engine.io_workers": workers,
    }
    took = biam_pipe("download", "--dataset", "folder", "--work", str(folder / "work"), "--json", sets=sets)
    record = pq.read_table(folder / "work/folder/downloads/stage.parquet")["receipt"].to_pylist()
    receipts = [json.loads(text) for text in record]
    assert sum(one["counts"]["ok"] for one in receipts) == images
    first = min(one["started_at"] for one in receipts)
    return images / (max(one["started_at"] + one["seconds"] for one in receipts) - first), took


def theirs(base: str, images: int, folder: Path, peer: Path) -> tuple[float, Measured]:
    """The same of img2dataset."""
    if not (peer / "bin/img2dataset").exists():
        subprocess.run([sys.executable, "-m", "venv", str(peer)], check=True)
        subprocess.run([str(peer / "bin/pip"), "install", "--quiet", PEER], check=True)
    urls = folder / "urls.txt"
    urls.write_text("".join(f"{base}/{number}.jpg\n" for number in range(images)))
    out = folder / "peer"
    options = {
        "url_list": urls, "input_format": "txt", "output_folder": out, "output_format": "parquet",
        "processes_count": 2, "thread_count": 32, "number_sample_per_shard": 1000, "resize_mode": "no",
        "skip_reencode": True, "disable_all_reencoding": True, "compute_hash": "sha256", "enable_wandb": False,
    }  # fmt: skip
    took = measured([str(peer / "bin/img2dataset"), *(f"--{name}={value}" for name, value in options.items())])
    stats = [json.loads(path.read_text()) for path in out.glob("*_stats.json")]
    assert sum(one["successes"] for one in stats) == images
    return images / (max(one["end_time"] for one in stats) - min(one["start_time"] for one in stats)), took


def main() -> None:
    """Serve, measure the ceiling, then both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2, help="engine.io_workers of ours; theirs has 2 processes")
    parser.add_argument("--peer", type=Path, default=Path(tempfile.gettempdir(), "img2dataset-1.47"))
    arguments = parser.parse_args()
    pipe, end = multiprocessing.Pipe()
    multiprocessing.get_context("spawn").Process(target=serve, args=(end,), daemon=True).start()
    end.close()  # so that a server that dies is an error here, and not a wait
    base = f"http://127.0.0.1:{pipe.recv()}"
    print(f"{psutil.cpu_count()} CPUs, {arguments.images} images; server's ceiling {ceiling(base, 5000):.0f} images/s")
    with tempfile.TemporaryDirectory() as name:
        rate, took = ours(base, arguments.images, Path(name), arguments.workers)
        print(f"biam-pipe: {rate:.0f} images/s; {took}", flush=True)
        peer_rate, peer_took = theirs(base, arguments.images, Path(name), arguments.peer)
        print(f"img2dataset: {peer_rate:.0f} images/s; {peer_took}")
        share = took.peak_bytes / peer_took.peak_bytes
        print(f"ratio: {rate / peer_rate:.2f} times the images/s with {share:.2f} times the memory")


if __name__ == "__main__":
    main()
