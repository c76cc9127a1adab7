"""What a user should know of the lists before anything runs: what is probably meant otherwise, and yet no error."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath

from pipeline.datasets.folder.annotations import EXAMPLES, Annotation, Annotations, told
from pipeline.datasets.folder.label_file import LabelFile
from schemas.command import AGAIN
from schemas.errors import PipelineError

_OTHER_JOINERS = "|,"  # between labels of one image in other people's files


def of_files(folders: Sequence[str], other: Sequence[str]) -> Iterator[str]:
    """What is said of files that are left out.

    Args:
        folders: as they are configured.
        other: paths of the files in them that are not called as images are.
    """
    if other:
        kinds = Counter(PurePath(path).suffix.lower() or "no suffix" for path in other)
        listed = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common(5))
        more = ", ..." if len(kinds) > 5 else ""
        yield (
            f"{', '.join(folders)}: {_files(len(other))} left out, not called as images are ({listed}{more}) and not "
            "named in the CSV"
        )


def of_labels(csv: LabelFile, annotations: Annotations) -> Iterator[str]:
    """What is said of the CSV."""
    labels = {label for row in csv.rows for label in row.labels}
    if csv.unread:
        yield f"{csv.path}: columns that are not read: {', '.join(csv.unread)}"
    if not csv.rows:
        yield f"{csv.path} has a first line and no others: no image is labelled"
    elif not labels:
        yield f"{csv.path} names no label in any of its {len(csv.rows)} lines"
    again = [said for said in annotations.by_image.values() if len(said.rows) > 1]
    if again:
        lines = " and ".join(str(row.line) for row in again[0].rows[:2])
        yield (
            f"{csv.path}: {_images(len(again))} in several lines each, such as {again[0].rows[0].image!r} "
            f"(lines {lines}); their labels are joined"
        )
    if annotations.stray:
        yield (
            f"{csv.path}: {_images(len(annotations.stray))} of {len(annotations.by_image)} without a file: "
            f"{told(annotations.stray, annotations.nearest)}"
        )
    for joiner in _OTHER_JOINERS:
        if joined := sorted(label for label in labels if joiner in label):
            yield f"{csv.path}: {joiner!r} is no more than a letter of {_quoted(joined)}; ';' stands between labels"


def of_names(path: Path, names: Iterable[str]) -> Iterator[str]:
    """What is said of the names of labels in one file."""
    for alike in _alike(names).values():
        if len(alike) > 1:
            yield f"{path}: labels that differ in case, blanks or forms of letters alone stay apart: {_quoted(alike)}"


def of_unseen(path: Path, unseen: Iterable[str], borne: Collection[str]) -> Iterator[str]:
    """What is said of the labels to hold out.

    Args:
        path: the file that lists them.
        unseen: their names.
        borne: labels of the images in use.
    """
    if bare := [name for name in unseen if name not in borne]:
        yield f"{path}: {len(bare)} unseen {'label' if len(bare) == 1 else 'labels'} on no image: {_quoted(bare)}"


def of_use(path: Path, said: Sequence[Annotation], unseen: Collection[str]) -> Iterator[str]:
    """What is said of a CSV that leaves nothing to train on, or to test on, whatever becomes of the images.

    Args:
        path: of the CSV.
        said: what it says of each image in use.
        unseen: labels that training does not see.
    """
    if not any(image.labels for image in said):
        return
    if not any(image.split in (None, "train") and not image.labels.issubset(unseen) for image in said):
        yield f"{path}: nothing to train on: no image with a seen label may be in train"
    if not any(image.split in (None, "test") for image in said):
        yield f"{path}: nothing to test on: no image may be in test"


def require_apart(seen: Mapping[str, int], unseen: Mapping[str, int], csv: Path, held_out: Path) -> None:
    """No seen label is an unseen one in another spelling: it would be trained on.

    Args:
        seen: numbers of their first lines in the CSV, by name.
        unseen: the same in the file of unseen labels.
        csv: that file.
        held_out: that file.

    Raises:
        PipelineError: one is; the text shows both.
    """
    by_form = {_form(name): name for name in unseen}
    for name, line in seen.items():
        if (twin := by_form.get(_form(name))) is not None:
            raise PipelineError(
                f"the label {name!r} ({csv}, line {line}) is seen, {twin!r} ({held_out}, line {unseen[twin]}) unseen;",
                found="a difference in case, blanks or forms of letters alone",
                expected="one spelling",
                hint="Mend one of the lines and run the same command again:",
                run=AGAIN,
            )


def _alike(names: Iterable[str]) -> dict[str, list[str]]:
    alike: dict[str, list[str]] = defaultdict(list)
    for name in names:
        alike[_form(name)].append(name)
    return alike


def _form(label: str) -> str:
    """Equal for labels that differ in case, blanks or forms of letters alone."""
    folded = unicodedata.normalize("NFKC", label).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def _quoted(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > EXAMPLES else ""
    return ", ".join(map(repr, names[:EXAMPLES])) + more


def _files(count: int) -> str:
    return "1 file is" if count == 1 else f"{count} files are"


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
