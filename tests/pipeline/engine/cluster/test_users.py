"""A user's cluster: which workers get work, when, and what becomes of it when the run ends."""

import logging
import pickle
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import dask
import pytest
from distributed import Client, LocalCluster
from numbers_stage import listing

from pipeline.engine.cluster import on_worker, users
from pipeline.engine.cluster.pool import Pool
from pipeline.engine.cluster.probe import expected
from pipeline.engine.engine import Engine
from pipeline.engine.graph import resolve
from pipeline.engine.ledger import Ledger
from pipeline.engine.progress import ProgressView
from pipeline.engine.task import Output, Stage, Task
from pipeline.engine.work import Job
from pipeline.files.inputs import Inputs, OutputFile
from pipeline.files.lock import writing
from pipeline.files.storage import Storage
from pipeline.machine import stopping
from pipeline.machine.loopback import loopback_of
from schemas.config import EngineConfig
from schemas.errors import PipelineError, UsageError

COPIES = {"copy": OutputFile("{folder}/{shard}.txt")}
THREADS = {"dashboard_address": "127.0.0.1:0", "processes": False}


def copy(task: Task) -> list[Output]:
    task.storage.write(task.path("copy"), task.inputs.read("list", "number", task.shard))
    return [Output(("copy",), rows=task.sharers)]


def one_fails_and_the_other_goes_on(task: Task) -> list[Output]:
    """The first waits until the run has ended, and commits all the same; the second fails when the first is there."""
    begun = task.storage.scratch("") / "begun"
    if task.shard == 1:
        while not begun.exists():
            time.sleep(0.01)
        raise PipelineError("the run ends")
    begun.touch()
    while stopping.reason(None) is None:
        time.sleep(0.01)
    return copy(task)


def write_when_it_began(task: Task) -> list[Output]:
    task.storage.write(task.path("copy"), str(time.time_ns()).encode())
    return [Output(("copy",), rows=1)]


def task(storage: Storage) -> Task:
    outputs = {"copy": OutputFile("copies/{shard}.txt")}
    return Task("copy", 0, storage, "copies", "0" * 64, "1" * 64, None, Inputs(storage, "copy", {}), outputs)


def engine(root: Path, scheduler: str, wait_s: float = 30.0, **stage: object) -> Engine:
    copies = Stage("copy", 1, {}, None, copy, {"list": "shard"}, COPIES, "io", "copies")
    storage = Storage(str(root))
    graph = resolve([listing([1, 2, 3]), replace(copies, **stage)], storage)  # type: ignore[arg-type]
    settings = EngineConfig(wait_for_workers_s=wait_s)
    return Engine(graph, storage, settings, ProgressView(quiet=True), scheduler)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("foo", "--scheduler wants the address of a Dask scheduler, got 'foo', expected tls://HOST:PORT"),
        ("http://127.0.0.1:8786", "wants the address of a Dask scheduler, got 'http://"),
        ("tcp://127.0.0.1", "wants the address of a Dask scheduler"),
        ("127.0.0.1:99999", "wants the address of a Dask scheduler"),
        ("tls://127.0.0.1:8786", r"no TLS settings for a client, expected DASK_DISTRIBUTED__COMM__TLS__CA_FILE and"),
    ],
)
def test_what_is_no_address_is_told_before_anything_is_asked(address: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        users.require_address(address)


def test_tls_settings_that_are_no_keys_are_told(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no key")
    for file, told in (("cert.pem", "cannot be used"), ("none.pem", "No such file")):
        tls = dict.fromkeys(("distributed.comm.tls.ca-file", "distributed.comm.tls.client.cert"), str(tmp_path / file))
        with dask.config.set(tls), pytest.raises(UsageError, match=rf"TLS settings .*{told}.*cert = \S+{file}"):
            users.require_address("tls://127.0.0.1:8786")


def test_a_cluster_that_cannot_be_connected_to_leaves_no_client_that_the_end_of_the_process_waits_for() -> None:
    before = set(Client._instances)
    told = pytest.raises(PipelineError, match=r"no Dask scheduler answers at .* \(encryption required by Dask")
    with dask.config.set({"distributed.comm.require-encryption": True}), told, users.connected("tcp://127.0.0.1:1"):
        pass
    assert set(Client._instances) == before


def test_words_that_travel_in_the_open_beyond_this_host_are_told(caplog: pytest.LogCaptureFixture) -> None:
    for address in ("127.0.0.1:8786", "tcp://[::1]:8786", "tcp://localhost:1", "inproc://1/2/3"):
        users.require_address(address)
    assert caplog.messages == []
    users.require_address("tcp://192.0.2.7:8786")
    assert caplog.messages[0].startswith("tcp://192.0.2.7:8786 is not encrypted")


def test_a_base_address_that_other_hosts_cannot_reach_is_seen() -> None:
    assert loopback_of(["https://a.org/x:1/", "http://127.0.0.1:81/x"]) == "http://127.0.0.1:81/x"
    assert loopback_of(["http://127.0.0.1.org:81", "http://10.0.0.1/"]) is None


def test_workers_that_are_not_fit_get_no_work_and_a_run_without_others_ends_naming_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(users, "_OTHERS_S", 0.0)
    with LocalCluster(n_workers=1, threads_per_worker=1, resources={"GPU": 99}, **THREADS) as theirs:
        with pytest.raises(PipelineError, match=r"no worker .* is fit.*\n  worker 0 .* it offers GPU=99 and has"):
            engine(tmp_path, theirs.scheduler_address).run()
        with pytest.raises(PipelineError, match="is fit"):
            engine(tmp_path, theirs.scheduler_address).require_workers()
    assert list(tmp_path.iterdir()) == []
    assert any("left out: worker 0" in text for text in caplog.messages)


def test_a_cluster_that_has_no_workers_until_there_is_work_gets_on(tmp_path: Path) -> None:
    with LocalCluster(n_workers=0, threads_per_worker=1, **THREADS) as theirs:
        theirs.adapt(minimum=0, maximum=1, interval="50ms", wait_count=100)
        made = engine(tmp_path, theirs.scheduler_address)
        made.run()
        assert made.ran == {"list": 1, "copy": 3}
    assert {receipt.rows for receipt in made.graph["copy"].valid.values()} == {1}  # shared out among one worker


def test_what_is_under_way_when_a_run_ends_is_stopped_and_commits_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    with LocalCluster(n_workers=1, threads_per_worker=2, **THREADS) as theirs, writing(Storage(str(tmp_path))) as lease:
        made = engine(tmp_path, theirs.scheduler_address, run=one_fails_and_the_other_goes_on)
        graph = resolve([node.stage for node in made.graph.values()], lease.storage)
        ended = replace(made, graph=graph, storage=lease.storage, end=lease.end)
        with pytest.raises(PipelineError, match="the run ends"):
            ended.run()
    assert not (tmp_path / "copies").exists() or list((tmp_path / "copies").glob("[!.]*")) == []


def first_goes_on_for_long(task: Task) -> list[Output]:
    """The first attempt commits when all is over; the second at once."""
    begun, over = (task.storage.scratch("") / name for name in ("begun", "over"))
    if not begun.exists():
        begun.touch()
        while not over.exists():
            time.sleep(0.01)
    return copy(task)


def test_what_a_worker_that_was_given_up_had_is_done_by_one_that_comes_later_and_by_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users, "_STRANDED_S", 0.2)
    with LocalCluster(n_workers=1, threads_per_worker=1, **THREADS) as theirs:
        (first,) = theirs.scheduler.workers

        def replace_worker() -> None:
            while not (tmp_path / "begun").exists():
                time.sleep(0.01)
            theirs.scale(2)
            theirs.wait_for_workers(2)
            theirs.sync(theirs.scheduler.remove_worker, first, stimulus_id="test", close=False)

        replacing = threading.Thread(target=replace_worker)
        replacing.start()
        made = engine(tmp_path, theirs.scheduler_address, run=first_goes_on_for_long)
        made.run()
        replacing.join()
        written = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "copies").iterdir()}
        (tmp_path / "over").touch()
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "copies").iterdir()} == written
    assert all(node.complete for node in made.graph.values())


def test_what_is_done_is_not_done_again_where_its_worker_goes_before_the_client_has_let_go_of_it(
    tmp_path: Path,
) -> None:
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, **THREADS) as theirs,
        Client(theirs, set_as_default=False) as client,
        writing(Storage(str(tmp_path))) as lease,
    ):
        job = Job(write_when_it_began, task(lease.storage), "stage")
        call = {"job": pickle.dumps(job), "run": client.id}
        held = client.submit(eval, on_worker.DO, call, key="held", pure=False)
        held.result()
        written = {path.name: path.read_bytes() for path in (tmp_path / "copies").iterdir()}
        known = theirs.scheduler.tasks["held"]
        (first,) = known.who_has
        theirs.sync(theirs.scheduler.remove_worker, first.address, stimulus_id="test", close=False)
        while known.state != "memory":  # it was begun again
            time.sleep(0.01)
    assert written.keys() == {"shard-00000.txt", "shard-00000.json"}
    assert {path.name: path.read_bytes() for path in (tmp_path / "copies").iterdir()} == written


def test_what_this_run_has_done_and_somebody_dropped_or_lost_is_done_again(tmp_path: Path) -> None:
    with writing(Storage(str(tmp_path))) as lease:
        job = Job(write_when_it_began, task(lease.storage), "stage")
        (receipt,) = job.execute(lambda told: None)
        assert job.is_done()
        ledger = Ledger(lease.storage, "copy", "copies", "stage")
        (file,) = receipt.files
        ledger.write(receipt.model_copy(update={"files": (file.model_copy(update={"pruned": True}),)}))
        assert not job.is_done()
        ledger.write(receipt.model_copy(update={"lease": "of a run before"}))
        assert not job.is_done()
        ledger.write(receipt)
        assert job.is_done()
        (tmp_path / file.path).unlink()
        assert not job.is_done()


def test_a_task_that_has_ended_on_a_worker_that_is_gone_has_ended(tmp_path: Path) -> None:
    let_go, ended = threading.Event(), queue.SimpleQueue[Callable[[], None]]()

    def hold(result: Callable[[], None]) -> None:
        ended.put(result)
        let_go.wait()

    with LocalCluster(n_workers=1, threads_per_worker=1, **THREADS) as theirs:
        wanted = expected([], None, (), None)
        with Pool(theirs.scheduler_address, EngineConfig(), ["io"], lambda told: None, wanted=lambda: wanted) as pool:
            for shard, take in enumerate((hold, ended.put)):
                job = Job(write_when_it_began, replace(task(Storage(str(tmp_path))), shard=shard), "stage")
                pool.submit("io", f"copy {shard}", job, take)
            ended.get()()
            while not (tmp_path / "copies/shard-00001.json").exists():
                time.sleep(0.01)
            states = pool.open().futures
            (key,) = (key for key in states if key.startswith("copy 1"))
            while states[key].status != "finished":
                time.sleep(0.01)
            (only,) = theirs.scheduler.workers
            theirs.sync(theirs.scheduler.remove_worker, only, stimulus_id="test", close=False)
            while states[key].status == "finished":
                time.sleep(0.01)
            let_go.set()
            ended.get()()
