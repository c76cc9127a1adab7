"""biam-pipe in Airflow (3.2 or later): all stages, in slices of bounded time. Goes to the dags folder of Airflow.

It imports nothing of biam-pipe, whose command has to be on the PATH of the workers, or named by `BIAM_PIPE_COMMAND`.
The work folder is `BIAM_PIPE_WORK`. It has one writer at a time, so make a pool of one slot for it before the first
run, and use the same pool for whatever else writes in it:

    airflow pools set biam_pipe 1 "the work folder of biam-pipe"

Several work folders: copies of this file with another DAG and POOL each.
"""

import json
import os
import shlex
import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from airflow.sdk import DAG, Asset, BaseOperator, Param
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowRescheduleException

DAG_ID = "biam_pipe"
POOL = "biam_pipe"
COMMAND = os.environ.get("BIAM_PIPE_COMMAND", "biam-pipe")
WORK = os.environ.get("BIAM_PIPE_WORK", "/srv/biam-pipe/work")

STAGES = ("index", "download", "extract", "split", "embed", "train", "evaluate", "report")
# Airflow takes two assets with one address for one, whatever their names, and drops what stands behind a #.
ASSETS = {
    stage: Asset(f"{DAG_ID}_{stage}", f"file://{quote(WORK)}/{DAG_ID}/{stage}") for stage in ("extract", "report")
}

DONE, TOO_MANY_FAILED, USAGE, INTEGRITY, HELD, GO_ON, INTERRUPTED = 0, 3, 2, 4, 5, 75, 130
# Not less than 60 s: a task that is due before the scheduler has handled its end is queued twice, and loses retries.
AGAIN_S = int(os.environ.get("BIAM_PIPE_AGAIN_S", "60"))
STOP_S = 60  # in which a command that was asked to stop saves


class Stage(BaseOperator):
    """One stage of biam-pipe: a slice of it, and the next one where that was not all.

    Args:
        stage: its command.
    """

    template_fields = ("dataset", "budget", "options")

    def __init__(self, *, stage: str, **arguments: Any) -> None:
        super().__init__(task_id=stage, **arguments)
        self.stage = stage
        self.dataset = "{{ params.dataset }}"
        self.budget = "{{ params.budget }}"
        self.options = "{{ params.options }}"
        self._process: subprocess.Popen[str] | None = None

    def execute(self, context: Any) -> dict[str, Any]:
        """Run a slice; what it came to, for tasks that come after.

        Raises:
            AirflowRescheduleException: the time budget is used up, or another run holds the work folder.
            AirflowFailException: a further try would meet the same.
            AirflowException: any other error, which is tried again.
        """
        del context
        words = [self.stage, "--json", "--dataset", self.dataset, "--work", WORK, "--time-budget", self.budget]
        try:
            words += shlex.split(self.options)
        except ValueError as error:
            raise AirflowFailException(f"options: {error}, in {self.options!r}") from error
        self.log.info("%s", shlex.join([COMMAND, *words]))
        self._process = subprocess.Popen([COMMAND, *words], stdout=subprocess.PIPE, text=True)  # noqa: S603 - no shell
        try:
            told = self._process.communicate()[0]
        finally:
            self.on_kill()  # what interrupts this one must not leave the command behind
        return self._outcome(self._process.returncode, _value(told))

    def on_kill(self) -> None:
        """Ask a command that still runs to save and stop."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _outcome(self, code: int, told: dict[str, Any]) -> dict[str, Any]:
        error = f"biam-pipe {self.stage} ended with exit code {code}: {told.get('error')}"
        if code in (GO_ON, HELD, INTERRUPTED):
            self.log.info("%s; once more in %d s", error, AGAIN_S)
            raise AirflowRescheduleException(datetime.now(UTC) + timedelta(seconds=AGAIN_S))
        if code in (USAGE, INTEGRITY):
            raise AirflowFailException(error)
        if code not in (DONE, TOO_MANY_FAILED):
            raise AirflowException(error)
        if code == TOO_MANY_FAILED:
            self.log.warning("%s", told.get("error"))
        ran = {stage["name"]: stage["ran"] for stage in told.get("stages", ()) if stage["ran"]}
        return {"exit_code": code, "ran": ran, "report": told.get("report")}


def _value(text: str) -> dict[str, Any]:
    """The JSON object that a command prints; an empty one where it printed none, such as when it was killed."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


with DAG(
    DAG_ID,
    description="Multi-label zero-shot learning, from image addresses to scores",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,  # a second run of the same folder waits for the first
    default_args={"pool": POOL, "retries": 3, "retry_delay": timedelta(minutes=5), "retry_exponential_backoff": True},
    params={
        "dataset": Param("demo", type="string", description="Data set: biam-pipe show datasets"),
        "budget": Param("50m", type="string", pattern=r"^[0-9.]+[smhd]$", description="Time of a slice"),
        "options": Param("", type="string", description="More options, as in a shell: --set train.lr=1e-4"),
    },
    tags=["biam-pipe"],
) as dag:
    before = None
    for name in STAGES:
        task = Stage(stage=name, outlets=[ASSETS[name]] if name in ASSETS else [])
        if before is not None:
            before >> task
        before = task
