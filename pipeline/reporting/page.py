"""The report page: everything it shows as one object, and its HTML."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.reporting.examples import Example
from pipeline.reporting.figures import History, Section
from pipeline.reporting.images import Images
from pipeline.reporting.labels import LabelMatrix, LabelNames, RankedLabels
from pipeline.reporting.ran import Fact, Library
from schemas.readable import duration_text, size_text
from schemas.receipts import Totals

if TYPE_CHECKING:
    from jinja2 import Environment

MAX_BYTES = 5_000_000
SIDES_PX = (320, 240, 160, 96)  # of pictures; tried in turn until a page is small enough
_GAP = "\u202f"  # between a number and its unit, where no line may end


@dataclass(frozen=True)
class Page:
    """All that the page shows. An empty sequence where the run left nothing: the page then says so.

    Attributes:
        title: what was run on what.
        run: folder of the run.
        warnings: what the figures suffer from: too few images are there, or some are in several splits.
        random_weights: whether the backbone's weights are random numbers.
        identity: (name, value) lines under the title.
        protocol: how the figures were counted.
        sections: the results.
        stages: what ran, by stage.
        images: what became of the images.
        space: the labels by name and role.
        matrix: the word vectors of the labels.
        history: the training history.
        ranked: labels by average precision.
        examples: test images.
        config: the settings as TOML text.
        recipe: fingerprints of recipes and folders of stages, by what they belong to.
        libraries: versions in use.
        facts: what stages wrote into their receipts.
    """

    title: str
    run: str
    warnings: Sequence[str]
    random_weights: bool
    identity: Sequence[tuple[str, str]]
    protocol: str
    sections: Sequence[Section]
    stages: Mapping[str, Totals]
    images: Images
    space: LabelNames
    matrix: LabelMatrix
    history: History
    ranked: Sequence[RankedLabels]
    examples: Sequence[Example]
    config: str
    recipe: Mapping[str, str] = field(default_factory=dict)
    libraries: Sequence[Library] = ()
    facts: Sequence[Fact] = ()


def render(page: Page) -> str:
    """The page as one HTML document that loads nothing; the same text for an equal page."""
    from pipeline.reporting.charts import line_chart

    curves = {"loss": page.history.losses(), "validation": page.history.validations()}
    charts = {
        name: line_chart(name, f"{name} by epoch", series, page.history.selected)
        for name, series in curves.items()
        if any(series.values())
    }
    return environment("reporting").get_template("report.html").render(page=page, charts=charts) + "\n"


def fitting(rendered: Callable[[int], str]) -> str:
    """A page with pictures as large as its limit allows; with the smallest where it is too large even so.

    Args:
        rendered: gives the page for the longer side of each picture, in pixels.
    """
    html = ""
    for side_px in SIDES_PX:
        html = rendered(side_px)
        if len(html.encode()) <= MAX_BYTES:
            break
    return html


def environment(room: str) -> "Environment":
    """Where the templates of a room are read; those of this one, with their style, can be included there."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    found = Environment(
        loader=ChoiceLoader([PackageLoader("pipeline", folder) for folder in dict.fromkeys((room, "reporting"))]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"count": count, "percent": percent, "size": size, "duration": duration}
    return found


def count(number: int) -> str:
    """`12,345`."""
    return f"{number:,}"


def percent(fraction: float | None, digits: int = 1) -> str:
    """`12.3 %`; a dash where there is no figure."""
    return "–" if fraction is None else f"{100 * fraction:.{digits}f}{_GAP}%"


def size(size_bytes: float) -> str:
    """`1.2 MB`, in three digits."""
    return size_text(size_bytes, ".3g", _GAP)


def duration(seconds: float) -> str:
    """`3 h 05 min`, `2 min 05 s`, `7.3 s`."""
    return duration_text(seconds, _GAP)
