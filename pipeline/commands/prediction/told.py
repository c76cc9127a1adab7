"""What a person reads of a prediction."""

from collections.abc import Iterator

from pipeline.commands.prediction.result import Prediction

_SHOWN = 20  # images told one by one


def prediction_lines(prediction: Prediction) -> Iterator[str]:
    """The scores of the first images, best first, with what they are worth and where all of them are."""
    for image in prediction.images[:_SHOWN]:
        yield image.image if image.error is None else f"{image.image}: {image.status} ({image.error})"
        for label in image.labels:
            likely = "" if label.probability is None else f"{100 * label.probability:5.1f} %"
            kind = "" if label.kind == "seen" else f"  ({label.kind})"
            yield f"  {label.score:8.3f}  {likely}  {label.label}{kind}".rstrip()
            if label.heat_map:
                yield f"{'':12}{label.heat_map}"
    if (more := len(prediction.images) - _SHOWN) > 0:
        failed = sum(image.error is not None for image in prediction.images[_SHOWN:])
        yield f"and {more} more" + (f", {failed} of which could not be used" if failed else "")
    yield from prediction.notes
    if prediction.page is not None:
        yield f"page: {prediction.page}"
        yield f"table: {prediction.table}"
