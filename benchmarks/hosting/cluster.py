"""A Dask cluster over several hosts, with TLS on all links, as a user would start it; and workers that are not fit."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.flips.warm import ROOT
from benchmarks.hosting.network import Host
from pipeline.engine.cluster.keys import run_keys

PORT = 8786
_CODE = ("pipeline", "schemas", "dags")
_FAKETIME = "usr/lib/*/faketime/libfaketime.so.1"
_WITHOUT = """
import sys
class _Nothing:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in ("pipeline", "schemas", "dags"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, _Nothing)
"""


@dataclass
class Cluster:
    """Scheduler and workers.

    Attributes:
        scratch: for keys and logs.
        first: the host of the scheduler, on which commands run, too.
    """

    scratch: Path
    first: Host
    _started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        keys = run_keys()
        self._keys = {
            "ca-file": self.scratch / "ca.pem",
            "cert": self.scratch / "cert.pem",
            "key": self.scratch / "key",
        }
        texts = (keys.tls_ca_file, keys.tls_client_cert, keys.tls_client_key)
        for path, text in zip(self._keys.values(), texts, strict=True):
            path.touch(0o600)
            path.write_text(text)

    @property
    def address(self) -> str:
        """Of the scheduler."""
        return f"tls://{self.first.address}:{PORT}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which a client finds its keys."""
        names = {"ca-file": "CA_FILE", "cert": "CLIENT__CERT", "key": "CLIENT__KEY"}
        tls = {f"DASK_DISTRIBUTED__COMM__TLS__{names[name]}": str(path) for name, path in self._keys.items()}
        return {**os.environ, "PYTHONPATH": str(ROOT), **tls}

    def scheduler(self) -> subprocess.Popen[bytes]:
        """Start one."""
        words = ["scheduler", "--host", self.first.address, "--port", str(PORT), "--protocol", "tls"]
        return self._start(self.first, "scheduler", [*words, "--no-dashboard"], {})

    def worker(
        self,
        host: Host,
        name: str,
        resources: str = "io=1 compute=1",
        variables: Mapping[str, str] | None = None,
        before: tuple[str, ...] = (),
    ) -> subprocess.Popen[bytes]:
        """Start one.

        Args:
            variables: of its environment.
            before: a command that starts it.
        """
        words = ["worker", self.address, "--host", host.address, "--name", name, "--nthreads", "2", "--no-dashboard"]
        words += ["--resources", resources, "--local-directory", str(self.scratch / name)]
        return self._start(host, name, words, dict(variables or {}), before)

    def _start(
        self, host: Host, name: str, words: list[str], variables: dict[str, str], before: tuple[str, ...] = ()
    ) -> subprocess.Popen[bytes]:
        tls = [word for option, path in self._keys.items() for word in (f"--tls-{option}", str(path))]
        command = host.inside(*before, sys.executable, "-m", "dask", *words, *tls)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
        folder = self.scratch / "elsewhere"
        folder.mkdir(exist_ok=True)
        with (self.scratch / f"{name}.log").open("ab") as log:
            started = subprocess.Popen(
                command, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True
            )
        self._started.append(started)
        return started

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """End a process and all that it started."""
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._started.remove(process)

    def close(self) -> None:
        """End all."""
        for process in list(self._started):
            self.end(process)


@contextmanager
def cluster(scratch: Path, hosts: list[Host], workers: bool = True) -> Iterator[Cluster]:
    """A cluster with a worker on each host, gone after the block."""
    scratch.mkdir()
    made = Cluster(scratch, hosts[0])
    try:
        made.scheduler()
        if workers:
            for host in hosts:
                made.worker(host, host.name)
        time.sleep(3)
        yield made
    finally:
        made.close()
        shutil.rmtree(scratch, ignore_errors=True)


def unfit(made: Cluster, host: Host, work: Path, photos: Path, faketime: str | None) -> dict[str, str]:
    """Start workers that are not fit; what is to be told of each, by name."""
    other, old, bare = (made.scratch / name for name in ("other-code", "old-pillow", "bare"))
    for name in _CODE:
        shutil.copytree(ROOT / name, other / name, ignore=shutil.ignore_patterns("__pycache__"))
    with (other / "pipeline/stages/extract.py").open("a") as file:
        file.write("\n\n_DOUBLED = 2\n")
    (old / "pillow-11.0.0.dist-info").mkdir(parents=True)
    (old / "pillow-11.0.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: pillow\nVersion: 11.0.0\n")
    bare.mkdir()
    (bare / "sitecustomize.py").write_text(_WITHOUT)

    def hidden(folder: Path) -> tuple[str, ...]:
        return ("unshare", "--mount", "sh", "-c", f'mount -t tmpfs none {folder} && exec "$@"', "sh")

    made.worker(host, "other-code", variables={"PYTHONPATH": str(other)})
    made.worker(host, "old-pillow", variables={"PYTHONPATH": f"{old}:{ROOT}"})
    made.worker(host, "bare", variables={"PYTHONPATH": str(bare)})
    made.worker(host, "blind-to-work", before=hidden(work))
    made.worker(host, "blind-to-photos", before=hidden(photos))
    made.worker(host, "false-gpu", resources="GPU=1")
    told = {
        "other-code": "its code of pipeline is another",
        "old-pillow": "it has pillow 11.0.0",
        "bare": "it has no package",
        "blind-to-work": "it does not see the work folder",
        "blind-to-photos": f"it does not see {photos}",
        "false-gpu": "it offers GPU=1 and has none",
    }
    if faketime is not None:
        made.worker(host, "other-clock", variables={"LD_PRELOAD": faketime, "FAKETIME": "+60s"})
        told["other-clock"] = "its clock is 60 s off"
    time.sleep(6)
    return told
