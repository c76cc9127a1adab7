"""The pages: what each shows, from what the stages left."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from pipeline.commands.runs.found import differing
from pipeline.files.inputs import Inputs
from pipeline.inference.calibration import Calibration
from pipeline.reporting.credits import Credit, credits_of
from pipeline.reporting.page import environment
from pipeline.viewing.gallery import Filter, Found, Gallery, Shown
from pipeline.viewing.label_table import LabelRow, label_rows
from pipeline.viewing.pictures import SIDES_PX, Pictures
from pipeline.viewing.query import OUTCOMES, ROLES, SORTS, SPLITS, STATUSES, Query
from pipeline.viewing.scores import ScoredRow, ScoreFile
from pipeline.viewing.world import Left, Recent
from schemas.command import Command
from schemas.errors import PipelineError, UsageError
from schemas.status import FAILURES, LabelCode

if TYPE_CHECKING:
    from jinja2 import Environment

_IMAGES_A_PAGE = 24
_ROWS_A_PAGE = 100
_BEST = 10  # labels told of an image
_SUGGESTED = 12
_LISTED_LABELS = 1500  # that a form offers: more make a page of megabytes
_PAGES = (("", "State"), ("images", "Images"), ("failures", "Failures"), ("labels", "Labels"), ("runs", "Runs"))


@dataclass(frozen=True)
class Label:
    """A label as a page shows it."""

    index: int
    name: str
    role: str = ""
    score: float | None = None
    probability: float | None = None
    mark: str = ""
    rank: int | None = None


@dataclass(frozen=True)
class Labels:
    """Names of all labels, by label index."""

    names: Mapping[int, str]
    ids: Mapping[str, int]

    @classmethod
    def of(cls, inputs: Inputs) -> "Labels":
        """Those of a data set; none before they are listed."""
        if not inputs.has("index"):
            return cls({}, {})
        rows = inputs.table("index", "labels").to_pylist()
        names = {row["label_index"]: row["name"] for row in rows}
        return cls(names, {row["label_id"]: row["label_index"] for row in rows})

    def find(self, words: str) -> int | None:
        """The label of this name or id, however its letters are written; None for no such label."""
        if words in self.ids:
            return self.ids[words]
        same = words.casefold()
        return next((index for index, name in self.names.items() if name.casefold() == same), None)

    def like(self, words: str) -> list[int]:
        """Some labels with these words in their names."""
        part = words.casefold()
        return [index for index, name in self.names.items() if part in name.casefold()][:_SUGGESTED]


@dataclass
class Site:
    """All pages of a work folder.

    Attributes:
        world: what can be asked of it.
        gallery: its images.
        pictures: those that were made last.
    """

    world: Recent
    gallery: Gallery = field(default_factory=Gallery)
    pictures: Pictures = field(default_factory=Pictures)
    _scores: tuple[Left, ScoreFile | None] | None = None

    def state(self, query: Query) -> str:
        """What `status` tells."""
        found = self.world.status()
        busy = bool(found.writer is not None and found.writer.alive) or any(one.writer.alive for one in found.slices)
        return self._page("state.html", "", query, found=found, busy=busy, statuses=STATUSES, splits=SPLITS)

    def images(self, query: Query) -> str:
        """Images by pages, those that the filter lets through."""
        left = self._left(query)
        labels, notes = Labels.of(left.inputs), list[str]()
        label, like = None, list[int]()
        if query.label and (label := labels.find(query.label)) is None:
            like = labels.like(query.label)
            notes.append(f"There is no label {query.label!r}")
        scores = self._readable_scores(left, notes)
        if query.outcome in OUTCOMES[:2] and scores is None:
            notes.append("The run kept no scores, so nobody knows which images are right or wrong")
        empty = bool(query.label) and label is None
        wanted = Filter(_or_none(query.split, {"none": ""}), query.status or None, label, query.outcome or None)
        first = (query.page - 1) * _IMAGES_A_PAGE
        found = Found([], 0, [])
        if not empty:
            try:
                found = self.gallery.page(left.inputs, wanted, scores, first, _IMAGES_A_PAGE)
            except PipelineError as problem:  # of the scores: every page that does not need them is as it was
                notes.append(str(problem))
        whose = self._credits(left, found.images, notes)
        cards = [
            self._card(image, labels, scores, notes) | {"credit": whose.get((image.shard, image.row))}
            for image in found.images
        ]
        return self._page(
            "images.html",
            "images",
            query,
            cards=cards,
            total=found.total,
            pages=_num_pages(found.total, _IMAGES_A_PAGE),
            problems=list(dict.fromkeys([*found.problems, *notes])),
            labels=sorted(labels.names.values()) if len(labels.names) <= _LISTED_LABELS else [],
            like=[labels.names[index] for index in like],
            splits=SPLITS,
            statuses=STATUSES,
            outcomes=OUTCOMES,
            side=SIDES_PX[0],
        )

    def image(self, query: Query, shard: int, row: int) -> str:
        """One image: its picture, labels, scores, and where the model sees a label."""
        left = self._left(query)
        image, problems = self.shown(left, shard, row)
        notes = list(problems)
        labels, scores = Labels.of(left.inputs), self._readable_scores(left, notes)
        scored = self._scored(image, scores, notes)
        best, truths = self._labels_of(left, image, labels, scores, scored, notes)
        credit = self._credits(left, [image], notes).get((shard, row))
        photo = self.pictures.photo(left, image, SIDES_PX[1])
        response = None if query.map is None else self.pictures.response(left, image, query.map)
        return self._page(
            "image.html",
            "images",
            query,
            image=image,
            problems=list(dict.fromkeys(notes)),
            photo=photo if isinstance(photo, str) else None,
            response=response if isinstance(response, str) else None,
            credit=credit,
            mapped=None if query.map is None else Label(query.map, labels.names.get(query.map, "?")),
            best=best,
            truths=truths,
            like=[Label(index, labels.names[index]) for index in labels.like(query.label)] if query.label else [],
            evaluated=scored is not None,
            before=(shard, row - 1) if row else self._end(left, shard - 1),
            after=(shard, row + 1) if row < self._rows(left, shard) - 1 else self._begin(left, shard + 1),
            retry=self._retry(image.status) if image.status in map(str, FAILURES) else None,
        )

    def failures(self, query: Query) -> str:
        """Images that failed, each kind with the command that tries them again."""
        left = self._left(query)
        status = query.status if query.status in map(str, FAILURES) else "failed"
        first = (query.page - 1) * _ROWS_A_PAGE
        found = self.gallery.page(left.inputs, Filter(status=status), None, first, _ROWS_A_PAGE)
        counts = self._failed(left)
        return self._page(
            "failures.html",
            "failures",
            query,
            found=found,
            problems=found.problems,
            pages=_num_pages(found.total, _ROWS_A_PAGE),
            kinds=[(name, number, self._retry(name)) for name, number in counts.items()],
            every=self._retry(None) if counts else None,
        )

    def labels(self, query: Query) -> str:
        """Average precision by label, of one run or of two beside each other."""
        run = query.run or self.world.usual_run()
        notes: list[str] = []
        names = [name for name in (run, query.against) if name]
        rows = label_rows([self._per_label(name, notes) for name in names], query.role, query.sort, query.label)
        first = (query.page - 1) * _ROWS_A_PAGE
        return self._page(
            "labels.html",
            "labels",
            query,
            rows=rows[first : first + _ROWS_A_PAGE],
            total=len(rows),
            pages=_num_pages(len(rows), _ROWS_A_PAGE),
            problems=notes,
            names=names,
            better=sum(1 for row in rows if row.gain is not None and row.gain > 0),
            worse=sum(1 for row in rows if row.gain is not None and row.gain < 0),
            roles=ROLES,
            sorts=SORTS if len(names) > 1 else SORTS[:-1],
        )

    def runs(self, query: Query) -> str:
        """All runs with their figures beside chance."""
        found = self.world.runs()
        return self._page("runs.html", "runs", query, found=found, apart=differing(found.runs))

    def problem(self, told: str) -> str:
        """A page that tells a mistake, or what is damaged."""
        return self._page("problem.html", "-", Query(), told=told)

    def photo(self, query: Query, shard: int, row: int, side_px: int) -> bytes | str:
        """The picture of an image, or why there is none."""
        left = self._left(query)
        return self.pictures.photo(left, self.shown(left, shard, row)[0], side_px)

    def response(self, query: Query, shard: int, row: int) -> bytes | str:
        """The picture with a response map laid over, or why there is none."""
        left = self._left(query)
        return self.pictures.response(left, self.shown(left, shard, row)[0], query.map or 0)

    def shown(self, left: Left, shard: int, row: int) -> tuple[Shown, Sequence[str]]:
        """One image, and what could not be read of its shard.

        Raises:
            UsageError: there is none in that place.
        """
        found = self.gallery.image(left.inputs, shard, row)
        if found is None:
            raise UsageError(f"there is no image in row {row} of shard {shard}")
        return found

    def _left(self, query: Query) -> Left:
        return self.world.left(query.run or self.world.usual_run())

    def _readable_scores(self, left: Left, notes: list[str]) -> ScoreFile | None:
        """The scores of a run; what is wrong with them is a note."""
        if self._scores is None or self._scores[0] is not left:
            try:
                self._scores = left, ScoreFile.of(left.inputs)
            except PipelineError as problem:
                notes.append(str(problem))
                return None
        return self._scores[1]

    @staticmethod
    def _scored(image: Shown, scores: ScoreFile | None, notes: list[str]) -> ScoredRow | None:
        if scores is None:
            return None
        try:
            return scores.row(image.image_id)
        except PipelineError as problem:
            notes.append(str(problem))
            return None

    def _card(self, image: Shown, labels: Labels, scores: ScoreFile | None, notes: list[str]) -> dict[str, Any]:
        scored = self._scored(image, scores, notes)
        card: dict[str, Any] = {"image": image, "best": None, "outcome": None}
        card["true"] = [labels.names.get(index, str(index)) for index in image.positive]
        if scored is not None and scores is not None:
            card |= {"best": scores.names[int(scored.scores.argmax())], "outcome": scored.outcome}
        return card

    def _credits(self, left: Left, images: Sequence[Shown], notes: list[str]) -> Mapping[tuple[int, int], Credit]:
        try:
            return credits_of(left.inputs, [(image.shard, image.row) for image in images])
        except PipelineError as problem:
            notes.append(str(problem))
            return {}

    def _labels_of(
        self,
        left: Left,
        image: Shown,
        labels: Labels,
        scores: ScoreFile | None,
        scored: ScoredRow | None,
        notes: list[str],
    ) -> tuple[list[Label], list[Label]]:
        """The labels with the largest scores, and the true ones."""
        if scored is None or scores is None:
            return [], [Label(index, labels.names.get(index, str(index))) for index in image.positive]
        likely = self._likely(left, scored, notes)
        order = (-scored.scores).argsort(kind="stable").tolist()
        ranks = {column: rank for rank, column in enumerate(order, start=1)}
        marks = {LabelCode.PRESENT: "right", LabelCode.ABSENT: "wrong", LabelCode.UNKNOWN: "unknown"}

        def label(column: int) -> Label:
            chance = None if likely is None else float(likely[column])
            mark = marks[int(scored.codes[column])]
            score = float(scored.scores[column])
            at = scores.label_index[column], scores.names[column], scores.roles[column]
            return Label(*at, score, chance, mark, ranks[column])

        columns = {index: column for column, index in enumerate(scores.label_index)}
        true = [
            label(columns[index]) if index in columns else Label(index, labels.names.get(index, str(index)))
            for index in image.positive
        ]
        return [label(column) for column in order[:_BEST]], true

    @staticmethod
    def _likely(left: Left, scored: ScoredRow, notes: list[str]) -> Any:
        """Probability of each label; None where nothing makes any of scores."""
        if "calibrated" not in left.inputs.receipt("evaluate").facts:
            return None
        try:
            curve = Calibration.of(left.inputs.json("evaluate", "calibration"))
        except PipelineError as problem:
            notes.append(str(problem))
            return None
        return None if curve is None else curve.probabilities(scored.scores)

    @staticmethod
    def _rows(left: Left, shard: int) -> int:
        return left.inputs.receipt("index", shard).rows if left.inputs.has("index", shard) else 0

    def _begin(self, left: Left, shard: int) -> tuple[int, int] | None:
        """Place of the first image of a shard; None where there is none."""
        return (shard, 0) if self._rows(left, shard) else None

    def _end(self, left: Left, shard: int) -> tuple[int, int] | None:
        """Place of its last one."""
        return (shard, rows - 1) if (rows := self._rows(left, shard)) else None

    @staticmethod
    def _failed(left: Left) -> dict[str, int]:
        """How many images failed with each status, as far as stages have come; most first."""
        counts: dict[str, int] = {}
        for receipt in left.inputs.receipts("index"):
            last = next((stage for stage in ("extract", "download") if left.inputs.has(stage, receipt.shard)), None)
            if receipt.shard is None or last is None:
                continue
            for name, number in left.inputs.receipt(last, receipt.shard).counts.items():
                if name in map(str, FAILURES):
                    counts[name] = counts.get(name, 0) + number
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def _retry(self, status: str | None) -> str:
        word = "--retry-failed" if status is None else f"--retry-failed={status}"
        return str(Command("run", (word,)).with_options(self.world.world.given))

    def _per_label(self, run: str, notes: list[str]) -> list[LabelRow]:
        left = self.world.left(run)
        if not left.inputs.has("evaluate"):
            notes.append(f"{run} was not evaluated")
            return []
        try:
            return [LabelRow.of(row) for row in left.inputs.table("evaluate", "per_label").to_pylist()]
        except PipelineError as problem:
            notes.append(str(problem))
            return []

    def _page(self, template: str, place: str, query: Query, **shown: Any) -> str:
        found = self.world.runs()
        run = query.run or self.world.usual_run() or ""
        common = {
            "places": _PAGES,
            "place": place,
            "query": query,
            "run": run,
            "run_names": [one.name for one in found.runs],
        }
        dataset = self.world.world.given.dataset or ""
        return _environment().get_template(template).render(dataset=dataset, root=found.root, **common, **shown)


def _num_pages(rows: int, rows_a_page: int) -> int:
    return max(1, -(-rows // rows_a_page))


def _or_none(text: str, written: Mapping[str, str]) -> str | None:
    return written.get(text, text) if text else None


@cache
def _environment() -> "Environment":
    from schemas.figures import figure_name
    from schemas.readable import rough_duration_text, size_text

    found = environment("viewing")
    found.filters |= {
        "figure": figure_name,
        "rate": lambda number: size_text(number) + "/s",
        "rough": rough_duration_text,
    }
    return found
