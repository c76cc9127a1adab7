"""Who may change a work folder: what a commit is compared with, wherever it is made.

A run writes its id into the folder's lease when it takes the folder, and takes it out when it ends. Pieces of its work
carry the id to other processes and hosts, and each of them looks it up before it changes anything: what is still under
way when a run has ended, or when another has taken the folder, commits nothing. An attempt at a piece has a mark of its
own beside it, so that one that was given up for dead commits nothing once the next has begun.
"""

from dataclasses import dataclass
from pathlib import Path

from pipeline.files.refusals import refusals_named
from schemas.command import AGAIN
from schemas.errors import HeldFolderError

LEASE = ".lock"  # file of a work folder: see `lock`
SLICES = ".slices"  # folder with one for each range of shards that somebody holds by a lease of its own: see `slices`
_TEXT_BYTES = 4096  # many times what is written


@dataclass(frozen=True)
class Guard:
    """A file that has to hold a text, or nothing may be changed.

    Attributes:
        path: below the work folder.
        text: an id that nobody else has.
        what: that it stands for, for people.
    """

    path: str
    text: str
    what: str = "run"

    def require(self, root: str) -> None:
        """See that the file still holds the text. No cache is asked: it is opened anew, as network disks want it.

        Raises:
            HeldFolderError: it does not, or there is none.
            PipelineError: the system refuses to read it.
        """
        path = Path(root, self.path)
        with refusals_named(path, "read"):
            try:
                with path.open("rb") as file:
                    if self.text.encode() in file.read(_TEXT_BYTES):
                        return
            except (FileNotFoundError, NotADirectoryError):
                pass
        raise HeldFolderError(
            f"{root} is no longer held by this {self.what}: it has ended, or another has begun, and nothing more of it "
            "is committed",
            hint="If no other run goes on there, run the same command again:",
            run=AGAIN,
        )
