"""The page of a prediction: each image with its best labels, as one HTML file beside the table and the pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.commands.prediction.result import ImagePrediction, Prediction

SHOWN = 500  # images on the page; the table has all
PICTURED = 300  # of those the first so many with their picture: 3 MB
SIDE_PX = 200  # the longer side of a picture


@dataclass(frozen=True)
class Thumbnail:
    """A picture on the page, as a `data:` address."""

    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class _Shown:
    """An image on the page; links lead to the heat maps of its labels, "" where there is none."""

    name: str
    found: ImagePrediction
    links: Sequence[str]
    uri: str = ""
    width: int = 0
    height: int = 0


def page(prediction: Prediction, thumbnails: Mapping[int, Thumbnail], table: str) -> str:
    """The page as one HTML document that loads nothing but the pictures it links to.

    Args:
        thumbnails: by number of the image.
        table: name of the table's file, which lies beside the page.
    """
    from pipeline.reporting.page import environment

    shown = [_shown(image, thumbnails.get(number)) for number, image in enumerate(prediction.images[:SHOWN])]
    labels = [label for image in prediction.images for label in image.labels]
    return (
        environment("commands/prediction")
        .get_template("page.html")
        .render(
            found=prediction,
            model=Path(prediction.model).parent.name,
            shown=shown,
            left_out=len(prediction.images) - len(shown),
            table=table,
            maps=any(label.heat_map for label in labels),
            has_probabilities=any(label.probability is not None for label in labels),
        )
        + "\n"
    )


def _shown(image: ImagePrediction, thumbnail: Thumbnail | None) -> _Shown:
    links = ["" if label.heat_map is None else "/".join(Path(label.heat_map).parts[-2:]) for label in image.labels]
    return _Shown(image.image, image, links, *(() if thumbnail is None else vars(thumbnail).values()))
