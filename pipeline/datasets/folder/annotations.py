"""The CSV's lines by image: which file each means, and what all lines of an image say together."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import islice
from posixpath import basename

from pipeline.datasets.folder.label_file import LabelFile, Row, malformed
from pipeline.datasets.folder.scan import LocalFile, is_image_name
from pipeline.datasets.folder.spelling import Paths, UnclearPathError, is_address, sounds_like
from schemas.command import AGAIN
from schemas.errors import PipelineError

EXAMPLES = 3
_MOST_COMPARED = 10_000  # names with which a stray one is compared letter by letter: 0.1 s


@dataclass(frozen=True)
class Annotation:
    """What is said of one image.

    Attributes:
        rows: lines that name it, the first one first.
        file: None for an address.
        labels: of all its lines.
        split: train, validation or test; None where no line says.
    """

    rows: Sequence[Row]
    file: LocalFile | None
    labels: frozenset[str]
    split: str | None


@dataclass(frozen=True)
class Annotations:
    """What the CSV says.

    Attributes:
        by_image: by image id, in the order of the CSV.
        stray: the first line of each image whose file is not there.
        nearest: names of listed files that stray lines may mean, by number of line, for the first few.
    """

    by_image: Mapping[str, Annotation]
    stray: Sequence[Row]
    nearest: Mapping[int, str]


def annotations(csv: LabelFile, paths: Paths) -> Annotations:
    """What the CSV says of each image.

    Raises:
        PipelineError: a path that is unclear, leads out of the folders or differs from that of an unlabelled file in
            case or blanks alone; two lines that deal an image to different splits; or no line that names an image.
    """
    by_image: dict[str, Annotation] = {}
    for row in csv.rows:
        address = row.image.strip()
        file = None if is_address(address) else _file(csv, row, paths)
        image_id = address if file is None else file.image_id
        before = by_image.get(image_id)
        by_image[image_id] = (
            Annotation((row,), file, frozenset(row.labels), row.split) if before is None else _joined(csv, before, row)
        )
    stray = [said.rows[0] for said in by_image.values() if said.file is not None and not _is_there(said.file, paths)]
    nearest = _nearest(stray[:EXAMPLES], list(paths.scanned))
    if stray and len(stray) == len(by_image):
        raise PipelineError(
            f"{csv.path}: none of {len(csv.rows)} lines names a file that is there;",
            found=told(stray, nearest),
            expected="paths below dataset.folders, or below the CSV where none is configured",
            hint="Mend the paths or dataset.folders, then run the same command again:",
            run=AGAIN,
        )
    _refuse_misspelt(csv, stray, [image_id for image_id in paths.scanned if image_id not in by_image])
    return Annotations(by_image, stray, nearest)


def told(stray: Sequence[Row], nearest: Mapping[int, str]) -> str:
    """The first few of the lines whose files are not there, each with the nearest name."""
    texts = [
        f"{row.image!r} in line {row.line}" + (f" (nearest: {nearest[row.line]!r})" if row.line in nearest else "")
        for row in stray[:EXAMPLES]
    ]
    return ", ".join(texts)


def _file(csv: LabelFile, row: Row, paths: Paths) -> LocalFile:
    try:
        return paths.file(row.image)
    except UnclearPathError as error:
        raise malformed(csv.path, row.line, error.found, error.expected) from error


def _joined(csv: LabelFile, before: Annotation, row: Row) -> Annotation:
    """With one line more: the labels of both, and a split on which they agree."""
    if before.split is not None and row.split not in (None, before.split):
        first = next(other.line for other in before.rows if other.split is not None)
        found = f"{row.image!r} in the split {row.split} (line {first} says {before.split})"
        raise malformed(csv.path, row.line, found, "one split an image")
    return replace(
        before, rows=(*before.rows, row), labels=before.labels.union(row.labels), split=before.split or row.split
    )


def _is_there(file: LocalFile, paths: Paths) -> bool:
    return file.size_bytes is not None or file.image_id in paths.scanned


def _refuse_misspelt(csv: LabelFile, stray: Sequence[Row], unnamed: Collection[str]) -> None:
    """A line whose file is not there, and an unlabelled image of nearly its name, are one photograph in two rows.

    Nearly the same are names that sound alike, and those of which one is the other's end or has another suffix:
    `photos/a.jpg`, `b/a.jpg` for `a.jpg`; `a`, `a.png` for `a.jpg`.
    """
    if not stray:
        return
    forms = {image_id: _stem(sounds_like(image_id)) for image_id in unnamed if is_image_name(image_id)}
    by_form: dict[str, list[str]] = defaultdict(list)
    for image_id, form in forms.items():
        by_form[form].append(image_id)
    wanted = {_stem(sounds_like(row.image)): row for row in reversed(stray)}
    for image_id, form in forms.items():
        for end in _ends(form)[1:]:
            if end in wanted:
                by_form[end].append(image_id)
    for form, row in reversed(wanted.items()):
        if meant := next((by_form[end] for end in _ends(form) if end in by_form), None):
            names = " or ".join(map(repr, meant[:EXAMPLES]))
            raise malformed(csv.path, row.line, f"{row.image!r}, which is no file", f"its name as it is: {names}")


def _stem(sound: str) -> str:
    """A path without the suffix of an image."""
    return sound[: sound.rindex(".")] if is_image_name(sound) else sound


def _ends(path: str) -> list[str]:
    """A path, and what is left of it below each of its folders."""
    names = path.split("/")
    return ["/".join(names[first:]) for first in range(len(names))]


def _nearest(stray: Sequence[Row], image_ids: Sequence[str]) -> dict[int, str]:
    """The listed file whose path sounds the same, else one of that name elsewhere, else one of much the same path."""
    if not stray:
        return {}
    by_sound = {sounds_like(image_id): image_id for image_id in reversed(image_ids)}
    by_name = {basename(sound): image_id for sound, image_id in by_sound.items()}
    near: dict[int, str] = {}
    for row in stray:
        sound = sounds_like(row.image)
        if (same := by_sound.get(sound) or by_name.get(basename(sound))) is not None:
            near[row.line] = same
        elif close := get_close_matches(sound, list(islice(by_sound, _MOST_COMPARED)), n=1):
            near[row.line] = by_sound[close[0]]
    return near
