"""The document of a comparison as one grid of texts, which every form of a table prints: percent with one decimal."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.figures import figure_name
from schemas.readable import rough_duration_text

NONE = "–"
_LOOSE = "~"  # before a published figure that compares loosely
_SCALED = "less their mean over the seen labels of an image, by their deviation there"
_BEYOND = "*"  # behind a difference whose interval has no 0


@dataclass(frozen=True)
class Grid:
    """A table of texts.

    Attributes:
        header: of the columns.
        lines: each with a text for each column; texts of a row that failed leave the later columns empty.
        notes: what is to be read with it.
    """

    header: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def grid(document: Mapping[str, Any]) -> Grid:
    """The table of a comparison: a line for each row and task, last chance."""
    names = _names(document)
    header = ("method", "task", *map(figure_name, names), "published", "permuted", "below the best")
    lines = [line for row in document["rows"] for line in _row(document, row, names)]
    lines += [_chance(task, told, names) for task, told in document["tasks"].items()]
    return Grid((*header, "parameters", "training", "ms/image"), tuple(lines), tuple(_notes(document)))


def _names(document: Mapping[str, Any]) -> list[str]:
    """Figures that any task shows, each once."""
    return list(dict.fromkeys(name for told in document["tasks"].values() for name in told["figures"]))


def _row(document: Mapping[str, Any], row: Mapping[str, Any], names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    width = len(names) + 8
    if row["failure"] is not None:
        yield (row["title"], f"failed: {row['failure']}", *[""] * (width - 2))
        return
    shown = {task: told for task, told in document["tasks"].items() if row["title"] in told["rows"]}
    if not shown:
        yield (row["title"], *[NONE] * (width - 1))
        return
    for number, (task, told) in enumerate(shown.items()):
        figures = told["rows"][row["title"]]
        cost = _cost(row) if number == 0 else ("", "", "")
        yield (
            row["title"] if number == 0 else "",
            task.upper(),
            *(_value(figures, name) for name in names),
            _published(figures["published"], told["headline"]),
            NONE if figures["permuted"] is None else percent(figures["permuted"][told["headline"]]),
            difference_text(figures["behind_best"]),
            *cost,
        )
        if figures["standardised"] is not None:
            scaled = (_value(figures["standardised"], name) for name in names)
            yield ("", f"{task.upper()}, one scale", *scaled, *[""] * 6)


def _chance(task: str, told: Mapping[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    figures = (percent(told["chance"][name]) if name in told["chance"] else NONE for name in names)
    return ("chance", task.upper(), *figures, *[""] * 6)


def _value(figures: Mapping[str, Any], name: str) -> str:
    if name not in figures["mean"]:
        return NONE
    deviation = figures["std"][name]
    return percent(figures["mean"][name]) + ("" if deviation is None else f" ±{100 * deviation:.1f}")


def _published(found: Mapping[str, Any] | None, headline: str) -> str:
    if found is None or headline not in found["figures"]:
        return NONE
    return (_LOOSE if found["loose"] else "") + percent(found["figures"][headline])


def difference_text(difference: Mapping[str, Any] | None) -> str:
    """How far a row is below the best one, in points of a percentage, with the interval of that."""
    if difference is None:
        return "best"
    told = f"{100 * difference['mean']:.1f}"
    if difference["interval"] is None:
        return f"{told} (not paired)"
    low, high = difference["interval"]
    return f"{told} [{100 * low:.1f}, {100 * high:.1f}]" + (_BEYOND if difference["beyond_luck"] else "")


def _cost(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return f"{row['parameters']:,}", rough_duration_text(row["training_s"]), f"{row['scoring_ms']:.2f}"


def percent(fraction: float) -> str:
    """`12.3` for 0.123."""
    return f"{100 * fraction:.1f}"


def _notes(document: Mapping[str, Any]) -> Iterator[str]:
    seeds, vary = document["seeds"], document["vary"]
    of = {"training": "training", "split": "training and of the split of images", "labels": "the draw of unseen labels"}
    yield f"Percent; {document['dataset']}, counted by protocol {document['protocol']}; seeds of {of[vary]}: " + (
        f"{', '.join(map(str, seeds))}, ± the deviation between them." if len(seeds) > 1 else f"{seeds[0]}."
    )
    overs = {
        figures["behind_best"]["over"]
        for told in document["tasks"].values()
        for figures in told["rows"].values()
        if figures["behind_best"] is not None
    }
    anew = {"images": "test images", "sets": f"sets of {'labels' if vary == 'labels' else 'images'}"}
    for over in sorted(overs - {None}):
        yield (
            f"Below the best: in points, with the interval of 95 % over {anew[over]} drawn anew for both rows alike; "
            f"{_BEYOND} it has no 0, so that the difference is beyond the luck of the draw."
        )
    if any(figures["standardised"] for told in document["tasks"].values() for figures in told["rows"].values()):
        yield f"One scale: the same scores {_SCALED}."
    if document["standardise"]:
        yield f"All figures are of scores on one scale (evaluate.standardise): {_SCALED}."
    yield from _choice(document["choice"])
    yield from _sources(document)
    yield from document["warnings"]


def _choice(found: Mapping[str, Any] | None) -> Iterator[str]:
    """Which row one would take, and why."""
    if found is None:
        return
    ranked = sorted(found["rows"].items(), key=lambda row: -row[1])
    told = ", ".join(f"{title} {percent(value)}" for title, value in ranked)
    yield f"By labels hidden from training one would take {found['chosen']} (on validation images: {told})."
    sets = found["by_seed"].values()
    own, best = (sum(one[name] for one in sets) / len(sets) for name in ("zsl", "best_zsl"))
    over = f", the mean over {len(sets)} seeds of what was chosen for each" if len(sets) > 1 else ""
    yield f"Chosen so, ZSL comes to {percent(own)}{over}; the best in hindsight to {percent(best)}."


def _sources(document: Mapping[str, Any]) -> Iterator[str]:
    """Where published figures are from, and what makes some of them loose."""
    found = [
        (title, figures["published"])
        for told in document["tasks"].values()
        for title, figures in told["rows"].items()
        if figures["published"] is not None
    ]
    if sources := dict.fromkeys(published["source"] for _, published in found):
        yield f"Published: {'; '.join(sources)}."
    remarks: dict[str, dict[str, None]] = {}
    for title, published in found:
        if published["loose"]:
            remarks.setdefault(published["loose"], {})[title] = None
    for remark, titles in remarks.items():
        yield f"{_LOOSE} {', '.join(titles)}: {remark}."
