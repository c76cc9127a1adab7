"""What a person reads of runs: lines that fit 80 columns."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pipeline.commands.runs.found import Run, differing
from schemas.figures import figure_name
from schemas.readable import WIDTH, size_text, table_lines, wrapped

if TYPE_CHECKING:
    from pipeline.commands.runs.clean import Cleaning
    from pipeline.commands.runs.difference import FigureDifference, RunDifference
    from pipeline.commands.runs.promotion import Promotion

_SPLITS = ("train", "validation", "test")
_LONGEST = 40  # characters of a value


@dataclass(frozen=True)
class Runs:
    """The runs of a data set.

    Attributes:
        root: its work folder.
        runs: newest first.
        latest: name of the one to use; None where none was promoted.
    """

    root: str
    runs: Sequence[Run]
    latest: str | None

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values; of the settings those that are not the same in all runs that have them."""
        apart = differing(self.runs)
        listed = [{**asdict(run), "settings": apart[run.name], "latest": run.name == self.latest} for run in self.runs]
        return {"work": self.root, "latest": self.latest, "runs": listed}


def runs_lines(found: Runs) -> Iterator[str]:
    """The runs in a table, and of each its figures and the settings that tell it from the others."""
    if not found.runs:
        yield "no runs yet"
        return
    rows = [
        (run.name, run.state, _images(run.images), size_text(run.size_bytes), _day(run.trained_at))
        for run in found.runs
    ]
    yield from table_lines(("run", "state", "images", "size", "trained (UTC)"), rows)
    yield "images: train/validation/test"
    apart = differing(found.runs)
    for run in found.runs:
        yield ""
        yield f"{run.name}{' (latest)' if run.name == found.latest else ''}"
        if run.problem:
            yield from wrapped(f"  {run.problem}", WIDTH)
        if run.metrics:
            yield from wrapped("  " + "  ".join(_headline(*section) for section in run.metrics.items()), WIDTH)
        if told := [f"{key}={_value(value)}" for key, value in apart[run.name].items()]:
            yield from wrapped("  " + "  ".join(told), WIDTH)


def _images(images: Mapping[str, int]) -> str:
    return "/".join(str(images.get(split, "-")) for split in _SPLITS) if images else ""


def _day(written: str) -> str:
    return written[:16].replace("T", " ")


def _headline(name: str, section: Mapping[str, Any]) -> str:
    key = section["headline"]
    return f"{name.upper()} {figure_name(key)} {section[key]:.3f} (chance {section['chance'][key]:.3f})"


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def difference_lines(found: "RunDifference") -> Iterator[str]:
    """Settings and figures of two runs side by side, the second one's gain with its interval."""
    yield from wrapped(f"first:  {found.first}", WIDTH)
    yield from wrapped(f"second: {found.second}", WIDTH)
    first, second, both = found.images
    told = f"test images: {first} and {second}" + (f", {both} of them in both" if both else "")
    yield from wrapped(told, WIDTH)
    if found.settings:
        yield ""
        rows = [(key, *(_shown(value) for value in pair)) for key, pair in found.settings.items()]
        yield from table_lines(("setting", "first", "second"), rows)
    else:
        yield "the settings are the same"
    if found.figures:
        yield ""
        head = ("figure", "chance", "first", "second", "gain", "95 %")
        yield from table_lines(head, [_figure_row(one) for one in found.figures])
        if any(one.interval is not None for one in found.figures):
            text = "95 %: of the gain, test images drawn anew for both alike; * it has no 0, so that it is beyond luck"
            yield from wrapped(text, WIDTH)
    if found.note:
        yield from wrapped(found.note, WIDTH)


def _figure_row(one: "FigureDifference") -> tuple[str, ...]:
    chance = "" if one.chance is None else f"{one.chance:.3f}"
    interval = ""
    if one.interval is not None:
        low, high = one.interval
        interval = f"{low:+.3f} {high:+.3f}" + ("*" if low > 0 or high < 0 else "")
    name = f"{one.section.upper()} {figure_name(one.figure)}"
    return (name, chance, f"{one.first:.3f}", f"{one.second:.3f}", f"{one.gain:+.3f}", interval)


def _shown(value: Any) -> str:
    return "-" if value is None else _value(value)


def promotion_lines(found: "Promotion") -> Iterator[str]:
    """Where the pointer leads now, and what the run was compared with."""
    if found.compared is not None:
        yield from difference_lines(found.compared)
        yield ""
    assert found.latest is not None, "the first run that is promoted becomes it"
    moved = "is latest now" if found.moved else "is latest, and stays"
    pointer = found.latest
    yield from wrapped(f"{pointer.run} {moved}, by {pointer.figure} {pointer.value:.3f}", WIDTH)


def cleaning_lines(found: "Cleaning") -> Iterator[str]:
    """What no kept run needs, largest first, and what to do to be rid of it."""
    rows = [(one.kind, size_text(one.size_bytes), one.path, one.why) for one in found.found]
    if rows:
        yield from table_lines(("what", "size", "path", "why"), rows)
    for name, why in found.kept.items():
        yield from wrapped(f"kept: {name}{'' if why == 'a run' else f' ({why})'}", WIDTH)
    for note in found.notes:
        yield from wrapped(f"NOTE: {note}", WIDTH)
    if not rows:
        yield "nothing to remove"
    elif found.removed:
        yield f"removed: {size_text(found.size_bytes)}"
    else:
        yield f"{size_text(found.size_bytes)} in all; --yes removes it"
