"""What is damaged in a finished work folder is refused by name, made anew, or makes no difference; nothing stays wrong.

A sample of benchmarks/bit_flips.py: of each kind of file a bit at random and two aimed damages, each before two of the
commands that read the file.
"""

import numpy as np
import pytest

from benchmarks.bit_flips import Options, play, trials
from benchmarks.flips.actions import ACTIONS, Action
from benchmarks.flips.attempt import Trial, Verdict
from benchmarks.flips.bench import Bench, Undisturbed
from benchmarks.flips.kinds import KINDS, Kind
from benchmarks.flips.warm import warm_runners

CHOSEN = (
    "status --json",
    "status (died)",
    "run --json",
    "run (without **/*stage.parquet)",
    "verify",
    "verify (stopped)",
    "index --only --set dataset.num_images=30",
    "download --only --retry-failed=too_large",
    "extract --only (without features/*/parquet)",
    "split --only (without splits)",
    "embed --only (without embeddings)",
    "train --only (stopped)",
    "train --only --set store.name=hdf5 (without runs)",
    "report --only --json (without runs/*/report.*)",
    "convert hdf5 (without features/*/hdf5)",
)
DAMAGES, COMMANDS = 2, 2  # of each kind, of each damage
RUNNERS = 2
LIMIT_S = 120.0

pytestmark = pytest.mark.timeout(900)


def sample(bench: Bench, kind: Kind, usual: dict[Action, Undisturbed]) -> list[Trial]:
    """The random bit, some of the aimed damages, and for each some of the commands that read the file."""
    rng = np.random.default_rng([*kind.name.encode()])
    by_damage: dict[str, list[Trial]] = {}
    for trial in trials(bench, [kind], usual, Options(flips=1, aimed=1)):
        by_damage.setdefault(trial[1].text, []).append(trial)
    *aimed, flip = by_damage.values()
    chosen = [flip, *(aimed[number] for number in rng.permutation(len(aimed))[: DAMAGES - 1])]
    return [some[number] for some in chosen for number in rng.permutation(len(some))[:COMMANDS]]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Verdict]]:
    """What came of it, by kind of file."""
    bench = Bench(tmp_path_factory.mktemp("flips"))
    actions = {action.name: action for action in ACTIONS}
    with warm_runners(RUNNERS, LIMIT_S) as runners:
        bench.make(runners[0])
        usual = {actions[name]: bench.undisturbed(actions[name], runners[0]) for name in CHOSEN}
        kinds = bench.present()
        inside = [trial for kind in kinds if not kind.outside for trial in sample(bench, kind, usual)]
        outside = [trial for kind in kinds if kind.outside for trial in sample(bench, kind, usual)]
        verdicts = [*play(bench, inside, usual, runners), *play(bench, outside, usual, runners[:1])]
    return {kind.name: [verdict for verdict in verdicts if verdict.kind == kind.name] for kind in kinds}


def test_every_file_of_a_finished_work_folder_is_of_a_known_kind(played: dict[str, list[Verdict]]) -> None:
    assert [name for name in played if name not in {kind.name for kind in KINDS}] == []


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS])
def test_damage_is_refused_by_name_or_made_anew_or_makes_no_difference(
    played: dict[str, list[Verdict]], kind: str
) -> None:
    assert played[kind]
    assert [str(verdict) for verdict in played[kind] if verdict.wrong] == []
