"""dags/airflow/biam_pipe.py in a real Airflow 3: `airflow dags test`, then scheduler, LocalExecutor and SQLite.

    python -m benchmarks.airflow --environment /tmp/airflow

Airflow is installed in an environment of its own, which is made where it is not there (1 GB). The data set is the small
demo with a tiny network. Prints what held, a line each: that all stages come to the report, in slices of bounded time;
that a second run of the same folder waits for the first; and that a damaged file fails a stage without another try.
"""

import argparse
import json
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DAG = "biam_pipe"
OPTIONS = "--set backbone.name=tiny --set dataset.num_images=80 --set model.name=ridge"
_PARTS = ("api-server", "scheduler", "dag-processor")
_POLL_S = 5.0


@dataclass(frozen=True)
class Airflow:
    """An Airflow with a database of its own.

    Attributes:
        program: the command.
        home: its folder.
        work: the work folder of biam-pipe.
        variables: of the environment of all that runs.
    """

    program: Path
    home: Path
    work: Path
    variables: Mapping[str, str]

    def __call__(self, *words: str, check: bool = True) -> str:
        """What a command of Airflow prints, in either way."""
        kept = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        done = subprocess.run([self.program, *words], env=self.variables, text=True, check=False, **kept)
        if check and done.returncode:
            raise SystemExit(f"airflow {' '.join(words)}: exit code {done.returncode}\n{done.stdout}")
        return done.stdout

    def rows(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        """Rows of the database; asking Airflow itself takes 4 s of a core each time."""
        with sqlite3.connect(f"file:{self.home}/airflow.db?mode=ro", uri=True, timeout=30) as database:
            return database.execute(query, values).fetchall()

    def state(self, run: str) -> str | None:
        """Of a run; None while there is none."""
        found = self.rows("SELECT state FROM dag_run WHERE run_id = ?", run)
        return found[0][0] if found else None

    def answers(self) -> bool:
        """Whether tasks can ask the API server, and the DAG is known."""
        with socket.socket() as server:
            open_port = server.connect_ex(("127.0.0.1", int(self.variables["AIRFLOW__API__PORT"]))) == 0
        return open_port and bool(self.rows("SELECT 1 FROM dag WHERE dag_id = ?", DAG))

    def tasks(self, run: str) -> dict[str, tuple[str, int]]:
        """State and number of tries by stage."""
        query = "SELECT task_id, state, try_number FROM task_instance WHERE run_id = ?"
        return {stage: (state, tries) for stage, state, tries in self.rows(query, run)}

    def reschedules(self, run: str) -> dict[str, int]:
        """How often each stage was put off, where it was."""
        query = (
            "SELECT task_id, COUNT(*) FROM task_reschedule JOIN task_instance ON ti_id = task_instance.id "
            "WHERE run_id = ? GROUP BY task_id"
        )
        return dict(self.rows(query, run))

    def trigger(self, run: str, budget: str, options: str = OPTIONS) -> None:
        """Begin a run, or put it in line."""
        given = json.dumps({"budget": budget, "options": options})
        self("dags", "trigger", DAG, "--run-id", run, "--conf", given)


def installed(environment: Path) -> Path:
    """The command of an environment with Airflow, which is made where it is not there."""
    program = environment / "bin/airflow"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        subprocess.run([environment / "bin/pip", "install", "--quiet", "apache-airflow>=3,<4"], check=True)
    return program


@contextmanager
def prepared(program: Path) -> Iterator[Airflow]:
    """With a database and the pool of the work folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "airflow")
        command = Path(folder, "biam-pipe")
        command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m cli "$@"\n')
        command.chmod(0o755)
        variables = {
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "HOME": folder,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags/airflow"),
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",  # 5 s are too little beside other work
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": "of this measurement alone, 64 bytes long ".ljust(64, "."),
            "BIAM_PIPE_COMMAND": str(command),
            "BIAM_PIPE_WORK": f"{folder}/work",
        }
        airflow = Airflow(program, home, Path(folder, "work"), variables)
        airflow("db", "migrate")
        airflow("pools", "set", DAG, "1", "the work folder")
        yield airflow


@contextmanager
def running(airflow: Airflow) -> Iterator[None]:
    """Its services, until the end of the block."""
    with ExitStack() as stack:
        for part in _PARTS:
            log = stack.enter_context((airflow.home / f"{part}.log").open("w"))
            command = [airflow.program, part]
            service = subprocess.Popen(command, env=airflow.variables, stdout=log, stderr=log, start_new_session=True)
            stack.callback(_end, service)
        wait(airflow.answers, 300, "the services do not begin")
        yield


def _end(service: subprocess.Popen[bytes]) -> None:
    service.terminate()
    try:
        service.wait(30)
    except subprocess.TimeoutExpired:
        service.kill()
        service.wait()


def wait(held: Callable[[], bool], seconds: float, problem: str) -> None:
    """Until something holds, for so long."""
    until = time.monotonic() + seconds
    while not held():
        if time.monotonic() > until:
            raise SystemExit(problem)
        time.sleep(_POLL_S)


def tell(what: str, held: bool, found: object) -> bool:
    """Print what was asked, and whether it held."""
    print(f"{'held  ' if held else 'FAILED'}  {what}: {found}", flush=True)
    return held


def tested(airflow: Airflow, budget: str) -> bool:
    """`airflow dags test` from nothing to the report."""
    started = time.monotonic()
    conf = json.dumps({"budget": budget, "options": OPTIONS})
    file = str(ROOT / "dags/airflow/biam_pipe.py")
    said = airflow("dags", "test", DAG, "--dagfile-path", file, "--conf", conf, check=False)
    states = airflow.rows("SELECT state FROM dag_run")  # there is no other yet
    reports = len(list(airflow.work.glob("demo/runs/*/report.html")))
    found = f"state {states[0][0]}, {reports} report, {time.monotonic() - started:.0f} s"
    held = states == [("success",)] and reports == 1
    found += (
        ""
        if held
        else "".join(f"\n    {line}" for line in said.splitlines() if "exit code" in line or "Exception: " in line)
    )
    return tell("dags test comes from nothing to the report", held, found)


def two_runs(airflow: Airflow, budget: str) -> Iterator[bool]:
    """All stages in slices, in a run with other settings; a second one of the same folder meanwhile."""
    more = f"{OPTIONS} --set backbone.input_px=64"
    airflow.trigger("first", budget, more)
    airflow.trigger("second", "30m", more)
    wait(lambda: airflow.state("first") == "running", 300, "the first run does not begin")
    ended = ("success", "failed")
    wait(lambda: all(airflow.state(run) in ended for run in ("first", "second")), 3000, "the runs do not end")
    states = airflow.tasks("first")
    held = {state for state, _ in states.values()} == {"success"} and airflow.state("first") == "success"
    again = airflow.reschedules("first")
    yield tell("all stages succeed through reschedules", held and bool(again), f"reschedules {again}")
    tries = {stage: tries for stage, (_, tries) in states.items() if tries != 1}
    yield tell("a slice costs no try", not tries, f"more than one try: {tries or 'none'}")
    rows = airflow.rows("SELECT run_id, start_date, end_date FROM dag_run")
    times = {run: (start, end) for run, start, end in rows}
    held = times["second"][0] >= times["first"][1] and airflow.state("second") == "success"
    found = f"the first ended {times['first'][1]}, the second began {times['second'][0]}"
    yield tell("a second run of the same folder waits", held, found)


def damaged(airflow: Airflow) -> bool:
    """A feature shard with a flipped bit is exit code 4, which a further try would meet again."""
    for shard in airflow.work.glob("demo/features/*/parquet/shard-00000.parquet"):
        data = bytearray(shard.read_bytes())
        data[len(data) // 2] ^= 1
        shard.write_bytes(data)
    airflow.trigger("damaged", "30m", f"{OPTIONS} --set backbone.input_px=64 --set model.preset=eszsl")
    wait(lambda: airflow.state("damaged") in ("success", "failed"), 900, "the run does not end")
    states = airflow.tasks("damaged")
    held = states["train"] == ("failed", 1) and states["evaluate"][0] == "upstream_failed"
    return tell("a damaged file fails its stage without another try", held, states)


def main(arguments: Sequence[str] | None = None) -> None:
    """All of it; exit code 1 where something did not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", type=Path, default=Path(tempfile.gettempdir(), "biam-pipe-airflow"))
    parser.add_argument("--parts", choices=("test", "scheduler"), nargs="+", default=["test", "scheduler"])
    parser.add_argument("--budget", default="2s", help="of a slice, where there are to be several")
    options = parser.parse_args(arguments)
    with prepared(installed(options.environment.resolve())) as airflow:
        print(f"Airflow {airflow('version').split()[-1]}, LocalExecutor, SQLite", flush=True)
        held = [tested(airflow, "30m")] if "test" in options.parts else []
        if "scheduler" in options.parts:
            with running(airflow):
                held += [*two_runs(airflow, options.budget), damaged(airflow)]
    raise SystemExit(0 if all(held) else 1)


if __name__ == "__main__":
    main()
