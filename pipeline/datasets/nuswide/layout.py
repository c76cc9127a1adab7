"""Where the official files lie: below `dataset.root`, as the archives leave them.

Each archive may have been extracted into `root` itself or into a folder of its own name. Opens nothing.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pipeline.datasets.nuswide.settings import NusWideDataset
from pipeline.datasets.official import official_file, outside_file
from pipeline.net.look import OutsideFile
from schemas.command import AGAIN, Command
from schemas.errors import UsageError

Split = Literal["train", "test"]

_PAGE = "https://lms.comp.nus.edu.sg/wp-content/uploads/2019/research/nuswide/NUS-WIDE.html"
_TAGS = "NUS_WID_Tags/TagList1k.txt"
_CONCEPTS = "ConceptsList/Concepts81.txt"
_URLS = "NUS-WIDE-urls.txt"


def image_list(config: NusWideDataset, split: Split) -> Path:
    """The file with one image of the split a line."""
    return _required(config, f"ImageList/{split.title()}Imagelist.txt")


def tag_matrix(config: NusWideDataset, split: Split) -> Path:
    """The file with one line an image and one column a tag."""
    return _required(config, f"NUS_WID_Tags/{split.title()}_Tags1k.dat")


def concept_labels(config: NusWideDataset, concept: str, split: Split) -> Path:
    """The file with one human label a line, of one concept."""
    return _required(config, f"Groundtruth/TrainTestLabels/Labels_{concept}_{split.title()}.txt")


def tag_list(config: NusWideDataset) -> Path:
    """The file with one tag a line; fetched where the root has none."""
    return _in_root(config, _TAGS) or _fetched(config, "tags", config.tags)


def concept_list(config: NusWideDataset) -> Path:
    """The file with one concept a line; fetched where the root has none."""
    return _in_root(config, _CONCEPTS) or _fetched(config, "concepts", config.concepts)


def fetched_lists(config: NusWideDataset) -> Iterator[OutsideFile]:
    """The lists that come from elsewhere, as far as the root has none.

    Raises:
        UsageError: there is no root.
    """
    for key, address, name in (("tags", config.tags, _TAGS), ("concepts", config.concepts, _CONCEPTS)):
        if _in_root(config, name) is None:
            yield outside_file(f"dataset.{key}", address, config.sha256.get(key))


def url_file(config: NusWideDataset) -> Path | None:
    """The file of addresses at Flickr; None where there is none.

    Raises:
        UsageError: the setting names a file that is not there.
    """
    if config.urls is None:
        return _below(_root(config), _URLS)
    path = Path(config.urls).expanduser()
    if not path.is_file():
        raise UsageError(
            f"dataset.urls: no file {config.urls!r} (seen from {Path.cwd()});",
            expected=f"{_URLS} of {_PAGE}",
            hint="Check the setting",
        )
    return path.resolve()


def image_folder(config: NusWideDataset) -> Path | None:
    """The folder of images; None where none is configured.

    Raises:
        UsageError: the setting names no folder.
    """
    if config.images is None:
        return None
    path = Path(config.images).expanduser()
    if not path.is_dir():
        raise UsageError(
            f"dataset.images: no folder {config.images!r} (seen from {Path.cwd()});",
            expected="the folder that holds actor/0002_174174086.jpg or actor_0002_174174086.jpg",
            hint=f"Check the setting, or leave it out to fetch images by {_URLS}",
        )
    return path.resolve()


def require_places(config: NusWideDataset) -> None:
    """Images can be had from somewhere.

    Raises:
        UsageError: there is neither a folder of images nor a file of addresses.
    """
    if image_folder(config) is None and url_file(config) is None:
        raise UsageError(
            f"data set 'nuswide': dataset.images is not set and there is no {_URLS} in {config.root};",
            expected="one of them",
            hint=f"Set the file of addresses ({_PAGE}) with --set dataset.urls=PATH, or the folder of images:",
            run=Command(sets={"dataset.images": "PATH"}),
        )


def _root(config: NusWideDataset) -> Path:
    if config.root is None:
        raise UsageError(
            "data set 'nuswide': dataset.root is not set;",
            expected="the folder of the extracted archives ImageList, NUS_WID_Tags, ConceptsList, Groundtruth and "
            f"{_URLS}, from {_PAGE}",
            hint="Set it:",
            run=Command(sets={"dataset.root": "PATH"}),
        )
    path = Path(config.root).expanduser()
    if not path.is_dir():
        raise UsageError(
            f"dataset.root: no folder {config.root!r} (seen from {Path.cwd()});",
            expected=f"the folder of the extracted archives of {_PAGE}",
            hint="Check the setting",
        )
    return path.resolve()


def _in_root(config: NusWideDataset, name: str) -> Path | None:
    """The file where the root has it; files of features need no root."""
    return None if config.root is None and config.features else _below(_root(config), name)


def _below(root: Path, name: str) -> Path | None:
    """The file with that name in its archive; an archive may lie in a folder of its own name."""
    archive = name.split("/", maxsplit=1)[0].removesuffix(".txt")
    return next((path for path in (root / name, root / archive / name) if path.is_file()), None)


def _required(config: NusWideDataset, name: str) -> Path:
    root = _root(config)
    found = _below(root, name)
    if found is None:
        archive = name.partition("/")[0]
        raise UsageError(
            f"dataset.root: no file {name} below {root};",
            expected=f"it from the archive {archive} of {_PAGE}",
            hint=f"Extract the archive into {root}, then run the same command again:",
            run=AGAIN,
        )
    return found


def _fetched(config: NusWideDataset, key: str, address: str) -> Path:
    return official_file(f"dataset.{key}", address, config.sha256.get(key))
