"""Damage to files as disks and memory do it, and where it means most: single bits, one value, a lost byte, a swap.

Which bit of a Parquet footer gives a column another name or type is not computed but tried: a flip counts where the
file still reads, and reads as something else.
"""

import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

_TRIED_BITS = 3000  # of a footer; some 100 us each
_MAGIC_BYTES = 8  # that end a Parquet file: the length of its footer, PAR1
_LENGTH_BYTES = 8  # that begin a safetensors file: the length of its header
_TOKENS = {
    "a brace": rb"[{}\[\]<>]",
    "a digit of a figure": rb"(?<=[\s\[:=,>])-?\d+(?:\.\d+)?(?=[\s\],}<%])",
    "a letter of a word": rb"[A-Za-z]{3,}",
}
_ENTRY = re.compile(rb'"([\w@./-]+)": *"?([\w.+-]*\w)')


@dataclass(frozen=True)
class Damage:
    """What happens to files.

    Attributes:
        text: for people.
        files: bytes afterwards, by path.
    """

    text: str
    files: Mapping[str, bytes]


def random_flips(files: Mapping[str, bytes], count: int, rng: np.random.Generator) -> Iterator[Damage]:
    """So many single bits, the files in turn; empty files have none."""
    paths = [path for path, data in sorted(files.items()) if data]
    for number in range(count if paths else 0):
        path = paths[number % len(paths)]
        yield _flip(path, files[path], int(rng.integers(8 * len(files[path]))), "at random")


def aimed(files: Mapping[str, bytes], most: int, rng: np.random.Generator) -> Iterator[Damage]:
    """What means something.

    Args:
        files: of one kind; the first of them is damaged, and swapped with the second.
        most: damages of one sort, such as other names of columns.
        rng: chooses among more.
    """
    (path, data), *others = sorted(files.items())
    if not data:
        return
    suffix = PurePosixPath(path).suffix
    if suffix == ".parquet":
        yield from _of_parquet(path, data, most, rng)
    elif suffix == ".h5":
        yield from _of_hdf5(path, data, most, rng)
    elif suffix == ".safetensors":
        header = data[_LENGTH_BYTES : _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")]
        yield _flip(path, data, 3, "the length of the header")
        yield from _of_text(path, data, header, _LENGTH_BYTES, most, rng)
        yield _flip(path, data, 8 * (len(data) - 3), "the last number")
    else:
        yield from _of_text(path, data, data, 0, most, rng)
    yield Damage(f"the last byte of {path} lost", {path: data[:-1]})
    yield Damage(f"all bytes of {path} lost", {path: b""})
    for other, its_data in others[:1]:
        if its_data != data:
            yield Damage(f"{path} and {other} swapped", {path: its_data, other: data})


def _flip(path: str, data: bytes, bit: int, what: str) -> Damage:
    return Damage(f"bit {bit % 8} of byte {bit // 8} of {path} ({what})", {path: _flipped(data, bit)})


def _flipped(data: bytes, bit: int) -> bytes:
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def _of_parquet(path: str, data: bytes, most: int, rng: np.random.Generator) -> Iterator[Damage]:
    table = pq.read_table(io.BytesIO(data))
    footer_bytes = int.from_bytes(data[-_MAGIC_BYTES:-4], "little")
    first = 8 * (len(data) - _MAGIC_BYTES - footer_bytes)
    left = {"name": most, "type": most, "number of rows": most}
    for offset in rng.permutation(8 * footer_bytes)[:_TRIED_BITS].tolist():
        if not any(left.values()):
            break
        change = _change(table.schema, table.num_rows, _flipped(data, first + offset))
        if change is not None and left[change[0]]:
            left[change[0]] -= 1
            yield _flip(path, data, first + offset, f"another {change[0]}: {change[1]}")
    for column in rng.permutation(table.num_columns)[:most].tolist():
        if (changed := _with_another_value(table, column)) is not None:
            file = io.BytesIO()
            pq.write_table(changed, file, compression="zstd", write_page_checksum=True)
            yield Damage(f"another value in column {table.column_names[column]} of {path}", {path: file.getvalue()})


def _change(schema: pa.Schema, rows: int, data: bytes) -> tuple[str, str] | None:
    """What a reader would see otherwise; None where it sees the same, or that the file is damaged."""
    try:
        with pq.ParquetFile(io.BytesIO(data)) as file:
            found, found_rows = file.schema_arrow, file.metadata.num_rows
    except (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError):
        return None
    if found.names != schema.names:
        return "name", ", ".join(map(repr, set(found.names) ^ set(schema.names)))
    if (changed := next((field for field in schema if found.field(field.name).type != field.type), None)) is not None:
        return "type", f"{changed.name} is {found.field(changed.name).type}, not {changed.type}"
    return None if found_rows == rows else ("number of rows", f"{found_rows}, not {rows}")


def _with_another_value(table: pa.Table, column: int) -> pa.Table | None:
    """The table with one value changed, the first that there is."""
    field, values = table.schema.field(column), table.column(column).to_pylist()
    row = next((row for row, value in enumerate(values) if value not in (None, [], {}, "", b"")), None)
    if row is None:
        return None
    values[row] = _another(values[row])
    return table.set_column(column, field, pa.array(values, field.type))


def _another(value: object) -> object:
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return chr(ord(value[0]) ^ 1) + value[1:]
        case bytes():
            return bytes([value[0] ^ 1]) + value[1:]
        case dict():
            name = next((name for name, inside in value.items() if inside not in (None, [], "")), None)
            return value if name is None else {**value, name: _another(value[name])}
        case [first, *rest]:
            return [_another(first), *rest]
    return value


def _of_hdf5(path: str, data: bytes, most: int, rng: np.random.Generator) -> Iterator[Damage]:
    import h5py

    names: list[str] = []
    with h5py.File(io.BytesIO(data)) as file:
        file.visit(names.append)
        names += file.attrs
    for name in rng.permutation(sorted(names))[:most].tolist():
        place = data.find(name.rpartition("/")[2].encode())
        if place >= 0:
            yield _flip(path, data, 8 * place, f"a letter of the name {name}")


def _of_text(path: str, data: bytes, text: bytes, start: int, most: int, rng: np.random.Generator) -> Iterator[Damage]:
    """Lowest bits: digits stay digits, letters stay letters."""
    for what, pattern in _TOKENS.items():
        found = list(re.finditer(pattern, text))
        for number in rng.permutation(len(found))[:most].tolist():
            place = start + found[number].end() - 1
            yield _flip(path, data, 8 * place + (what == "a brace"), what)
    entries = {match[1]: match for match in _ENTRY.finditer(text)}
    for key in rng.permutation(sorted(entries))[: 2 * most].tolist():
        name = key.decode()
        yield _flip(path, data, 8 * (start + entries[key].end() - 1), f"the value of {name}")
        yield _flip(path, data, 8 * (start + entries[key].start(1)), f"the key {name}")


def listed_paths(data: bytes) -> set[str]:
    """Paths of the files that a receipt or a stage record names, as far as it reads."""
    try:
        texts = pq.read_table(io.BytesIO(data))["receipt"].to_pylist() if data[:4] == b"PAR1" else [data.decode()]
        return {file["path"] for text in texts for file in json.loads(text)["files"]}
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError):
        return set()
