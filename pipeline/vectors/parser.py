"""Reads the vectors of chosen words out of a GloVe or word2vec file: text or binary, plain or gzipped.

gensim's `KeyedVectors` turns lines and records into vectors, but it would do so for every word: 70 s and 2 GB for the
400,000 words of GloVe, 3.6 GB for the binary file of Google News. Here the file is streamed once, the lines or records
of the words asked for are copied as they are, and gensim reads that small file. The others are only counted and their
fields counted, so that a torn file does not pass as one that lacks words.
"""

import codecs
import gzip
import re
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.files.scratch import scratch_folder
from schemas.errors import PipelineError

MARK = codecs.BOM_UTF8
LONGEST_WORD_BYTES = 1 << 16
MOST_DIMENSIONS = 100_000

_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"
_BLOCK_BYTES = 1 << 20
_LONGEST_LINE_BYTES = 1 << 22  # 40 characters for each number of the longest vector
_MOST_DIGITS = 18  # of a count
_FLOAT_BYTES = 4
_SCANNED_BYTES = 1_500_000_000
_PACKED = 12  # a byte of a gzipped file takes so many times as long as one of text, one of a binary file less
_CONTROL = re.compile(rb"[\x00-\x1f]")
_NUMBERS = re.compile(rb"[-+.0-9eE\s]+")


@dataclass(frozen=True)
class WordVectors:
    """Vectors of the words that the file has, of those asked for.

    Attributes:
        dimensions: of every vector of the file.
        vectors: float32 [word] by word. A vector of zeros or with a value that is not finite counts as none.
    """

    dimensions: int
    vectors: dict[str, NDArray[np.float32]]


def read_vectors(path: Path, words: Collection[str]) -> WordVectors:
    """The vectors of these words; binary where the name ends in `.bin` or `.bin.gz`, else text.

    Words with a space are never found: both formats end a word at the first one.

    Raises:
        PipelineError: the file is torn or malformed; the text names the line or record.
    """
    wanted = {word.encode() for word in words if word and " " not in word}
    binary = _is_binary(path)
    with scratch_folder() as folder:
        kept = folder / "kept"
        with _opened(path) as file, _torn_named(path):
            copy = _Records(path, file).copy(wanted, kept) if binary else _Lines(path).copy(file, wanted, kept)
        return WordVectors(copy.dimensions, _read(kept, binary) if copy.words else {})


def is_quickly_scanned(path: Path) -> bool:
    """Whether to look for words in a file of vectors, or of words, takes 3 s at most, as it does in 1.5 GB of text."""
    packed = path.name.lower().endswith((".gz", ".parquet"))
    return path.stat().st_size <= _SCANNED_BYTES // (_PACKED if packed or _is_binary(path) else 1)


def without_words(path: Path, words: Sequence[Collection[str]]) -> list[int]:
    """Positions of the groups of which the file has no word. Its numbers are not looked at.

    Files are sorted by how often a word occurs, so that the scan mostly ends early: where each group has one.

    Raises:
        PipelineError: the file is torn.
    """
    with _opened(path) as file, _torn_named(path):
        return groups_without(_Records(path, file).words() if _is_binary(path) else _line_words(file), words)


def groups_without(known: Iterable[bytes], words: Sequence[Collection[str]]) -> list[int]:
    """Positions of the groups of which no word is known."""
    groups: dict[bytes, list[int]] = {}
    for number, group in enumerate(words):
        for text in group:
            groups.setdefault(text.encode(), []).append(number)
    missing = set(range(len(words)))
    for word in known:
        missing.difference_update(groups.get(word, ()))
        if not missing:
            break
    return sorted(missing)


def with_usable(vectors: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Those that `WordVectors` takes for vectors."""
    return {word: vector for word, vector in vectors.items() if np.isfinite(vector).all() and vector.any()}


def _is_binary(path: Path) -> bool:
    return path.name.lower().removesuffix(".gz").endswith(".bin")


def _line_words(file: BufferedIOBase) -> Iterator[bytes]:
    """The first word of each line, also of one that says how many there are."""
    while line := file.readline(_LONGEST_LINE_BYTES):
        yield from line.removeprefix(MARK).split(None, 1)[:1]


@contextmanager
def _torn_named(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise PipelineError(f"{path}: the gzip stream is torn ({error}). Fetch the file again") from error


@dataclass(frozen=True)
class _Copy:
    dimensions: int
    words: int


def _read(path: Path, binary: bool) -> dict[str, NDArray[np.float32]]:
    from gensim.models import KeyedVectors

    read = KeyedVectors.load_word2vec_format(str(path), binary=binary)
    return with_usable({word: np.array(read[word], dtype=np.float32) for word in read.index_to_key})


@contextmanager
def _opened(path: Path) -> Iterator[BufferedIOBase]:
    """The plain bytes. The first bytes decide, not the name: a cached download may have any name."""
    with path.open("rb") as file:
        start = file.read(len(_ZIP))
        file.seek(0)
        if start == _ZIP:
            raise PipelineError(
                f"{path} is a zip archive, expected text or .gz. Unpack it and set embed.vectors to a file"
            )
        if start.startswith(_GZIP):
            with gzip.open(file) as plain:
                yield plain
        else:
            yield file


@dataclass(frozen=True)
class _Lines:
    """A text file: a word and its numbers a line, after a line with both counts in the word2vec form."""

    path: Path

    def copy(self, file: BufferedIOBase, wanted: set[bytes], kept: Path) -> _Copy:
        """Write the lines of the wanted words to `kept`, in the word2vec form."""
        first = self._line(file, 1).removeprefix(MARK)
        announced = _counts(first)
        dimensions = announced[1] if announced else len(first.split()) - 1
        if dimensions < 1 or not (announced or _numeric(first.split()[1:])):
            raise self._malformed(1, "neither the counts of words and dimensions nor a word and its numbers")
        _require_few(self.path, dimensions)
        lines: dict[bytes, bytes] = {}
        rows = 0
        for number, line in self._numbered(file, first, announced is not None):
            rows += 1
            word, _, numbers = self._fields(number, line, dimensions).partition(b" ")
            if rows == 1 and not _numeric(line.split()[-dimensions:]):
                raise self._malformed(number, f"something else than {dimensions} numbers after the first word")
            if word in wanted and word not in lines:
                if not _numeric(numbers.split()) or len(numbers.split()) != dimensions:
                    raise self._malformed(number, f"something else than {dimensions} numbers after {word.decode()!r}")
                lines[word] = numbers
        if announced and rows < announced[0]:
            raise PipelineError(f"{self.path}: {rows} words, expected {announced[0]} as line 1 says. Fetch it again")
        with kept.open("wb") as out:
            out.write(b"%d %d\n" % (len(lines), dimensions))
            out.writelines(word + b" " + numbers + b"\n" for word, numbers in lines.items())
        return _Copy(dimensions, len(lines))

    def _numbered(self, file: BufferedIOBase, first: bytes, header: bool) -> Iterator[tuple[int, bytes]]:
        if not header:
            yield 1, first.strip(b" \t\r\n")
        number = 1
        while line := self._line(file, number := number + 1):
            if stripped := line.strip(b"\r\n").rstrip(b" \t"):
                yield number, stripped

    def _line(self, file: BufferedIOBase, number: int) -> bytes:
        """The next line; a file of one line without end must not fill the memory."""
        line = file.readline(_LONGEST_LINE_BYTES)
        if len(line) == _LONGEST_LINE_BYTES:
            raise self._malformed(number, f"{_LONGEST_LINE_BYTES:,} bytes without an end of the line")
        return line

    def _fields(self, number: int, line: bytes, dimensions: int) -> bytes:
        """The line with single spaces. Only counting its spaces takes 3 us; splitting all 400,000 took 10 s."""
        if line.count(b" ") == dimensions:
            return line
        fields = line.split()
        between = fields[1 : len(fields) - dimensions]
        if len(fields) <= dimensions or any(_numeric([field]) for field in between):
            raise self._malformed(number, f"{max(len(fields) - 1, 0)} numbers after the word, not {dimensions}")
        # A word with spaces (GloVe 840B has ". . .") is in order but never wanted; two torn lines in one hold numbers.
        return b"" if between else b" ".join(fields)

    def _malformed(self, number: int, got: str) -> PipelineError:
        return PipelineError(
            f"{self.path}, line {number}: got {got}; expected a word and its numbers, separated by spaces (the "
            "name of a binary file must end in .bin or .bin.gz). Fetch the file again, or set embed.vectors to another"
        )


@dataclass(frozen=True)
class _Records:
    """A binary file: a line with both counts, then word, space and little-endian float32 numbers, again and again."""

    path: Path
    file: BufferedIOBase

    def copy(self, wanted: set[bytes], kept: Path) -> _Copy:
        """Write the records of the wanted words to `kept`, in the same form."""
        num_words, dimensions = self._announced()
        records: dict[bytes, bytes] = {}
        for word, numbers in self._records(num_words, dimensions * _FLOAT_BYTES):
            if word in wanted:
                records.setdefault(word, numbers)
        with kept.open("wb") as out:
            out.write(b"%d %d\n" % (len(records), dimensions))
            out.writelines(word + b" " + numbers for word, numbers in records.items())
        return _Copy(dimensions, len(records))

    def words(self) -> Iterator[bytes]:
        """Every word."""
        num_words, dimensions = self._announced()
        return (word for word, _ in self._records(num_words, dimensions * _FLOAT_BYTES))

    def _announced(self) -> tuple[int, int]:
        announced = _counts(self.file.readline(LONGEST_WORD_BYTES).removeprefix(MARK))
        if announced is None or announced[1] < 1:
            raise PipelineError(
                f"{self.path}: no counts of words and dimensions in line 1, as a word2vec .bin file has"
            )
        _require_few(self.path, announced[1])
        return announced

    def _records(self, num_words: int, size_bytes: int) -> Iterator[tuple[bytes, bytes]]:
        """Every record up to the end of the file, also where line 1 says fewer."""
        buffer, start, number = b"", 0, 0
        while True:
            while (space := buffer.find(b" ", start)) < 0 or len(buffer) < space + 1 + size_bytes:
                block = self.file.read(max(_BLOCK_BYTES, size_bytes))
                buffer, start = buffer[start:] + block, 0
                if not block and not buffer.strip(b"\r\n") and number >= num_words:
                    return
                if not block or (space < 0 and len(buffer) > LONGEST_WORD_BYTES + _BLOCK_BYTES + size_bytes):
                    raise self._broken(number + 1, f"the file is torn there; line 1 says {num_words} words")
            # Some writers end each record with a newline, which then stands before the next word.
            word, numbers = buffer[start:space].lstrip(b"\r\n"), buffer[space + 1 : space + 1 + size_bytes]
            start, number = space + 1 + size_bytes, number + 1
            if number == 1 and _NUMBERS.fullmatch(numbers):
                raise PipelineError(f"{self.path} is text, though its name ends as that of a binary file. Rename it")
            if _CONTROL.search(word):  # wrong dimensions in line 1 shift what is taken for a word into the numbers
                raise self._broken(number, "got bytes of no text for a word; the dimensions in line 1 may be wrong")
            yield word, numbers

    def _broken(self, number: int, what: str) -> PipelineError:
        return PipelineError(
            f"{self.path}, word {number}: {what}. Fetch the file again, or set embed.vectors to another"
        )


def _require_few(path: Path, dimensions: int) -> None:
    if dimensions > MOST_DIMENSIONS:
        raise PipelineError(
            f"{path}, line 1: vectors of {dimensions:,} dimensions, expected at most {MOST_DIMENSIONS:,}. "
            "Set embed.vectors to another file"
        )


def _counts(line: bytes) -> tuple[int, int] | None:
    fields = line.split()
    if len(fields) != 2 or not all(field.isdigit() and len(field) <= _MOST_DIGITS for field in fields):
        return None
    return int(fields[0]), int(fields[1])


def _numeric(fields: list[bytes]) -> bool:
    try:
        for field in fields:
            float(field)
    except ValueError:
        return False
    return True
