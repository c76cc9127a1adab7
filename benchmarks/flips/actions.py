"""The commands that are run on a damaged work folder: each stage alone, and all that looks into a work folder."""

from dataclasses import dataclass

OUT = "OUT"  # in arguments: a folder of the trial
PHOTO = "PHOTO"


@dataclass(frozen=True)
class Action:
    """A command that is run on a damaged folder.

    Attributes:
        arguments: of the command line, settings and work folder aside.
        removed: what it makes, so that it has to make it; glob patterns.
        base: the folder it starts from: `finished`, or `stopped` inside training, or `died`, leaving its lock.
        always: it is run whether it opens a damaged file or not: all see the sizes, and `verify` should open it.
    """

    arguments: tuple[str, ...]
    removed: tuple[str, ...] = ()
    base: str = "finished"
    always: bool = False

    @property
    def name(self) -> str:
        """For people."""
        notes = [self.base] * (self.base != "finished") + [f"without {pattern}" for pattern in self.removed[:1]]
        return " ".join([*self.arguments, *(f"({note})" for note in notes)])

    @property
    def verifies(self) -> bool:
        """Whether it is there to find damage."""
        return self.arguments[0] == "verify"

    @property
    def looks(self) -> bool:
        """Whether it tells what is there, whatever that is."""
        return self.arguments[0] in ("status", "plan")


_EVALUATED = tuple(
    f"runs/*/{name}"
    for name in ("evaluate.stage.*", "metrics.json", "per_label.*", "examples.*", "bootstrap.npz", "missing.csv")
)
_RECORDS = ("**/*stage.parquet",)
_HDF5 = ("--set", "store.name=hdf5")
ACTIONS = (
    Action(("status",), always=True),
    Action(("status", "--json")),
    Action(("status",), base="died"),
    Action(("plan",)),
    Action(("plan", "--json"), always=True),
    Action(("run",), always=True),
    Action(("run", "--json")),
    Action(("run",), base="died"),
    Action(("run",), removed=_RECORDS),
    Action(("verify",), always=True),
    Action(("verify",), base="stopped", always=True),
    Action(("verify", "--json")),
    Action(("verify", "--reextract", "3")),
    Action(("index", "--only", "--set", "dataset.num_images=30")),  # older shards are read, and stay
    Action(("download", "--only"), removed=("downloads", "images")),
    Action(("download", "--only", "--retry-failed=too_large")),
    Action(("extract", "--only"), removed=("features/*/parquet",)),
    Action(("split", "--only"), removed=("splits",)),
    Action(("embed", "--only"), removed=("embeddings",)),
    Action(("train", "--only"), removed=("runs",)),
    Action(("train", "--only"), base="stopped"),
    Action(("train", "--only", *_HDF5), removed=("runs",)),
    Action(("evaluate", "--only"), removed=_EVALUATED),
    Action(("evaluate", "--only", *_HDF5), removed=_EVALUATED),
    Action(("report", "--only"), removed=("runs/*/report.*",)),
    Action(("report", "--only", "--json"), removed=("runs/*/report.*",)),
    Action(("predict", PHOTO, "--out", OUT)),
    Action(("predict", PHOTO, "--labels", "red circle,green", "--json", "--out", OUT)),
    Action(("convert", "hdf5")),
    Action(("convert", "hdf5"), removed=("features/*/hdf5",)),
    Action(("convert", "parquet", *_HDF5), removed=("features/*/parquet",)),
    Action(("convert", "released", "--out", OUT)),
    Action(("convert", "huggingface", "--json", "--out", OUT)),
)
