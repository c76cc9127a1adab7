"""The files of a form in a folder of the user's, each with a note of what it was made from.

What stands, made from the same features, stays: after an interruption the same command goes on.
"""

import hashlib
import json
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from pipeline.conversion.form import Write
from pipeline.files.refusals import TEMPORARY_SUFFIX, refusals_named
from pipeline.files.storage import Storage, sha256_file
from schemas.errors import UsageError

CARD = "README.md"
MADE_HERE = "<!-- made by biam-pipe convert -->"  # in a card: one without is somebody's own

_NOTES = ".biam-pipe"
_SUFFIXES = (".parquet", ".h5", ".pkl", ".tar", ".npy")  # of the files of all forms


@dataclass(frozen=True)
class FormFiles:
    """The folder of a form.

    Attributes:
        storage: the folder.
        made_from: hash of what the files are made from, and how.
    """

    storage: Storage
    made_from: str

    def refuse_others(self, jobs: Collection[str]) -> None:
        """Refuse a folder where files of other features would be read together with those made here.

        Raises:
            UsageError: it holds such a file, or a card of somebody's own.
        """
        mine = tuple(name for name in jobs if name.endswith("/"))
        there = [name for name in self.storage.files() if not name.startswith(f"{_NOTES}/")]
        others = [name for name in there if name.endswith(_SUFFIXES) and name not in jobs and not name.startswith(mine)]
        if others:
            raise UsageError(
                f"convert: {self.storage.shown(min(others))} is none of the {len(jobs)} files of this conversion",
                found=f"{len(others)} such",
                expected=0,
                hint="Remove what is old, or use another --out",
            )
        if CARD in jobs and CARD in there and MADE_HERE.encode() not in self.storage.read(CARD):
            raise UsageError(
                f"convert: {self.storage.shown(CARD)} was not made by a conversion, and would be overwritten",
                hint="Use another --out",
            )

    def standing(self, name: str) -> dict[str, Any] | None:
        """The note of a file that was made from the same features and stands; None where it has to be made."""
        try:
            note: dict[str, Any] = json.loads(self.storage.read(self._note(name)))
            same = note["made_from"] == self.made_from and self._sha256(name) == note["sha256"]
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            return None
        return note if same else None

    def make(self, name: str, write: Write) -> dict[str, Any]:
        """Write the file, or the folder, then its note."""
        self.storage.remove(self._note(name))
        rows = self._make_folder(name, write) if name.endswith("/") else self._make_file(name, write)
        note = {
            "made_from": self.made_from,
            "rows": rows,
            "size_bytes": sum(file.stat().st_size for file in self._files(name)),
            "sha256": self._sha256(name),
        }
        self.storage.write(self._note(name), json.dumps(note, indent=1).encode())
        return note

    def _make_file(self, name: str, write: Write) -> int:
        with self.storage.commit(name) as temporary:
            return write(temporary)

    def _make_folder(self, name: str, write: Write) -> int:
        target = self.storage.scratch(name)
        with refusals_named(target):
            shutil.rmtree(target)
            temporary = target.with_name(f".{target.name}.{uuid4().hex}{TEMPORARY_SUFFIX}")
            temporary.mkdir()
            try:
                rows = write(temporary)
                temporary.rename(target)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        return rows

    def _files(self, name: str) -> list[Path]:
        path = Path(self.storage.shown(name))
        return sorted(path.iterdir()) if name.endswith("/") else [path]

    def _sha256(self, name: str) -> str:
        """Of a file; of a folder over the names and hashes of its files."""
        files = self._files(name)
        if not name.endswith("/"):
            return sha256_file(files[0])
        told = [f"{file.name} {sha256_file(file)}\n" for file in files]
        return hashlib.sha256("".join(told).encode()).hexdigest()

    def _note(self, name: str) -> str:
        return f"{_NOTES}/{name.rstrip('/')}.json"
