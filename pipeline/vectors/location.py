"""Where the file of word vectors is had: a known name, a web address, a data set's own server, or a path."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path, PurePosixPath

from pipeline.files.scratch import scratch_folder
from pipeline.net.fetch import cache_folder, fetch, is_web_address, kept_name
from pipeline.net.look import OutsideFile
from schemas.config import EmbedConfig
from schemas.errors import UsageError, unknown_name

# Word2vec text, gzipped; gensim's own downloader runs code that it fetches, so the file is fetched by its address.
PUBLISHED: Mapping[str, str] = {
    "glove-wiki-gigaword-300": "https://github.com/piskvorky/gensim-data/releases/download/"
    "glove-wiki-gigaword-300/glove-wiki-gigaword-300.gz"
}
_SIZES = {"glove-wiki-gigaword-300": 394_362_229}  # bytes

_SETTING = "embed.vectors"
_SERVED = re.compile(r"([a-z][a-z0-9_]+):([^/\\].*)")
_SUFFIXES = (".gz", ".txt", ".bin", ".vec")


def local_file(config: EmbedConfig) -> str | None:
    """The path that the setting names; None where the vectors are fetched.

    Raises:
        UsageError: it is a name, but none that is known.
    """
    vectors = config.vectors
    if vectors in PUBLISHED or is_web_address(vectors):
        return None
    if not Path(vectors).is_file():
        if _SERVED.fullmatch(vectors):
            return None
        if not PurePosixPath(vectors).suffix and "/" not in vectors:
            raise unknown_name("word vectors", vectors, PUBLISHED)
    return vectors


def slug(vectors: str) -> str:
    """The vectors' short name, fit for a file name: `glove-6b-300d` for `/data/glove.6B.300d.txt.gz`."""
    name = vectors.rstrip("/").rsplit("/", 1)[-1].lower()
    while name.endswith(_SUFFIXES):
        name = name.rsplit(".", 1)[0]
    return re.sub(r"[^a-z0-9]+", "-", name).strip("-") or "vectors"


@contextmanager
def vectors_file(config: EmbedConfig, bases: Mapping[str, str]) -> Iterator[Path]:
    """The file on this machine, checked against `embed.sha256`.

    Published and web files are kept in the cache folder. A data set's own server is asked each time: what it serves
    follows from its settings, and a cached copy would outlive them.

    Args:
        bases: addresses of the servers that data sets run, by name.

    Raises:
        UsageError: unknown name, or a server that is not there.
        PipelineError: there is no such file, or it could not be fetched.
        IntegrityError: it is not the file that `embed.sha256` names.
    """
    vectors = config.vectors
    path = local_file(config)
    if path is not None:
        yield fetch(path, Path(path), config.sha256, setting=_SETTING)
    elif (served := _SERVED.fullmatch(vectors)) and not is_web_address(vectors):
        with scratch_folder() as folder:
            address = _served_address(served[1], served[2], bases)
            yield fetch(address, folder / PurePosixPath(vectors).name, config.sha256, setting=_SETTING)
    else:
        address = PUBLISHED.get(vectors, vectors)
        yield fetch(address, _cached(vectors, address), config.sha256, setting=_SETTING)


def outside_file(config: EmbedConfig, bases: Mapping[str, str]) -> OutsideFile:
    """The same file, for whoever looks before it is fetched.

    Args:
        bases: as `vectors_file` takes them.

    Raises:
        UsageError: as `vectors_file`.
    """
    vectors = config.vectors
    if (path := local_file(config)) is not None:
        return OutsideFile(_SETTING, path, sha256=config.sha256)
    if (served := _SERVED.fullmatch(vectors)) and not is_web_address(vectors):
        return OutsideFile(_SETTING, _served_address(served[1], served[2], bases), sha256=config.sha256)
    address = PUBLISHED.get(vectors, vectors)
    return OutsideFile(_SETTING, address, _cached(vectors, address), config.sha256, _SIZES.get(vectors))


def _served_address(base: str, path: str, bases: Mapping[str, str]) -> str:
    if base not in bases:
        served = ", ".join(f"{name}:..." for name in sorted(bases)) or "none here"
        raise UsageError(
            f"embed.vectors = '{base}:{path}': no such file, and no data set serves {base!r} (served: {served}). Set "
            "embed.vectors to a path, an http(s) address or glove-wiki-gigaword-300"
        )
    return f"{bases[base].rstrip('/')}/{path}"


def _cached(vectors: str, address: str) -> Path:
    """Where a fetched file is kept: two addresses may end in one file name, so a hash tells those of users apart."""
    apart = "" if vectors in PUBLISHED else sha256(address.encode()).hexdigest()[:8] + "-"
    return cache_folder() / "vectors" / f"{apart}{kept_name(address, 'vectors')}"
