"""croissant.json: what files of a folder are, in the words of MLCommons' Croissant 1.0, which search engines index.

Source: http://mlcommons.org/croissant/1.0, and its context of names.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

FILE = "croissant.json"

_CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_PARQUET = "application/x-parquet"
_KINDS = {  # encoding formats, by ending
    "parquet": _PARQUET,
    "h5": "application/x-hdf5",
    "json": "application/json",
    "csv": "text/csv",
    "html": "text/html",
    "md": "text/markdown",
    "toml": "application/toml",
}
_TYPES = {"text": "sc:Text", "integer": "sc:Integer", "float": "sc:Float"}


@dataclass(frozen=True)
class File:
    """A file of the folder.

    Attributes:
        name: in the folder.
        size_bytes: of it.
        sha256: of its bytes.
        description: what it is; None where its name says so.
    """

    name: str
    size_bytes: int
    sha256: str
    description: str | None = None


@dataclass(frozen=True)
class Column:
    """A column of Parquet files.

    Attributes:
        name: of the column.
        kind: `text` (also of bytes), `integer` or `float`.
        description: what it holds.
    """

    name: str
    kind: str
    description: str


@dataclass(frozen=True)
class Rows:
    """What Parquet files hold, row by row.

    Attributes:
        name: of the rows.
        files: the one file, or a pattern such as `shard-*.parquet`.
        columns: those that are described.
        description: what a row is.
    """

    name: str
    files: str
    columns: Sequence[Column]
    description: str


@dataclass(frozen=True)
class Described:
    """What is said of a folder as a whole.

    Attributes:
        name: what it is called.
        description: what it holds.
        licence: what is known of using it.
        keywords: for those who search.
        cite_as: how to name it in a paper.
    """

    name: str
    description: str
    licence: str
    keywords: Sequence[str]
    cite_as: str


def croissant(described: Described, files: Iterable[File], rows: Sequence[Rows]) -> str:
    """The file's text; equal folders have equal ones. It says no date, as that would be another text each time."""
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": described.name,
        "description": described.description,
        "conformsTo": _CONFORMS_TO,
        "license": described.licence,
        "citeAs": described.cite_as,
        "keywords": list(described.keywords),
        "isLiveDataset": False,
        "distribution": [*map(_file_object, files), *(_file_set(each) for each in rows if "*" in each.files)],
        "recordSet": [_record_set(each) for each in rows],
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _file_object(file: File) -> dict[str, Any]:
    kind = _KINDS.get(file.name.rpartition(".")[2], "application/octet-stream")
    return {
        "@type": "cr:FileObject",
        "@id": file.name,
        "name": file.name,
        **({} if file.description is None else {"description": file.description}),
        "contentUrl": file.name,
        "contentSize": f"{file.size_bytes} B",
        "encodingFormat": kind,
        "sha256": file.sha256,
    }


def _file_set(rows: Rows) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": f"{rows.name}-files",
        "name": f"{rows.name}-files",
        "encodingFormat": _PARQUET,
        "includes": rows.files,
    }


def _record_set(rows: Rows) -> dict[str, Any]:
    source = {"fileSet": {"@id": f"{rows.name}-files"}} if "*" in rows.files else {"fileObject": {"@id": rows.files}}
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"{rows.name}/{column.name}",
            "name": column.name,
            "description": column.description,
            "dataType": _TYPES[column.kind],
            "source": {**source, "extract": {"column": column.name}},
        }
        for column in rows.columns
    ]
    return {
        "@type": "cr:RecordSet",
        "@id": rows.name,
        "name": rows.name,
        "description": rows.description,
        "field": fields,
    }
