"""Vectors of words that were looked up before, by the hash of their file: to find one in GloVe's takes seconds."""

from collections.abc import Callable, Collection, Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.files.storage import Storage
from pipeline.files.tables import read_hashed_table, write_hashed_table
from pipeline.net.fetch import cache_folder
from pipeline.vectors.parser import WordVectors
from schemas.errors import IntegrityError

_SCHEMA = pa.schema([pa.field("word", pa.string(), nullable=False), pa.field("vector", pa.list_(pa.float32()))])
_FOLDER = "vectors"
_NAMED_DIGITS = 16


def cached_vectors(
    sha256: str, words: Collection[str], read: Callable[[Collection[str]], WordVectors]
) -> dict[str, NDArray[np.float32]]:
    """Vectors by word, of those that the file has.

    Args:
        sha256: hash of the file.
        words: to look up.
        read: gives the vectors of words out of the file; called for those alone that were never looked up in it.

    Raises:
        IntegrityError: the cache is damaged; the text says which file to remove.
    """
    storage = Storage(str(cache_folder()))
    path = f"{_FOLDER}/{sha256[:_NAMED_DIGITS]}.words.parquet"
    cached: dict[str, NDArray[np.float32] | None] = {}
    if storage.exists(path):
        if (table := read_hashed_table(storage, path)) is None:
            raise IntegrityError(f"{storage.shown(path)} is no table as it was written, expected one. Remove it")
        cached = dict(zip(table["word"].to_pylist(), map(_vector, table["vector"].to_pylist()), strict=True))
    if new_words := sorted(set(words) - cached.keys()):
        vectors = read(new_words).vectors
        cached |= {word: vectors.get(word) for word in new_words}
        rows = {"word": list(cached), "vector": list(cached.values())}
        write_hashed_table(storage, path, pa.table(rows, schema=_SCHEMA))
    return {word: vector for word in words if (vector := cached[word]) is not None}


def _vector(values: Iterable[float] | None) -> NDArray[np.float32] | None:
    return None if values is None else np.array(values, dtype=np.float32)
