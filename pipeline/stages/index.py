"""Stage `index`: which images there are, where each can be had, and what labels they bear. Fetches nothing.

Growth: a row keeps its shard and position for ever. New images go to new shards, changed rows are changed in place, and
an image that is gone leaves a tombstone, which comes back to life with the image. `labels.parquet` only ever grows at
its end. A shard that stays as it was keeps its file. What is said of authors and licences lies beside it, and dirties
nothing.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.datasets import DATASETS
from pipeline.datasets.census import census, sentences
from pipeline.datasets.label import Label
from pipeline.datasets.listing import Listing
from pipeline.engine.ledger import Ledger, files_left, withdraw
from pipeline.engine.sources import Sources, require_unchanged
from pipeline.engine.task import RECORD, Estimate, Output, Stage, Task
from pipeline.files.inputs import Inputs, OutputFile
from pipeline.files.storage import Storage
from pipeline.files.table_spool import TableSpool, open_table_spool
from pipeline.files.tables import content_hash, write_table
from pipeline.machine import stopping
from pipeline.machine.telling import counted, tell
from pipeline.net.fetch import fetching
from schemas.command import AGAIN
from schemas.config import Config, DownloadConfig
from schemas.datasets import DatasetSection
from schemas.errors import PipelineError
from schemas.section import content, recipe
from schemas.tables import ANNOTATIONS, CREDITS, INDEX, LABELS, LOCAL_SOURCE, LOCATION, RECORDS

VERSION = 2

_log = logging.getLogger("biam_pipe.index")
FOLDER = "index"
OUTPUTS = {
    "index": OutputFile(f"{FOLDER}/{{shard}}.parquet", INDEX),
    "annotations": OutputFile("annotations/{shard}.parquet", ANNOTATIONS),
    "credits": OutputFile("credits/{shard}.parquet", CREDITS),  # of data sets that say whose their images are
    "labels": OutputFile("labels.parquet", LABELS),
}
_SHARD_FILE = re.compile(r"shard-(\d{5,})\.parquet")
_TOMBSTONE = -1  # in place of a record's number
_ROW_BYTES = 200  # of index and annotations: 20 of a folder, 80 of Open Images with three places an image


# Parts of a shard's content, for stages that read no labels (`Stage.reads`). `files` is the whole index table: a local
# file that was touched or moved may hold other bytes, so download looks again. `places`, and the content as a whole,
# leave out path, size and time of local files: the download's own content says whether the bytes are others. A touch or
# a move costs a look, no training. `labelled` is `places` and which images anybody labelled.
FILES = "files"
PLACES = "places"
LABELLED = "labelled"
_WHOLE = ""  # beside them, the content as a whole
_FILE_STAMP = ["size_bytes", "modified_ns"]


@dataclass(frozen=True)
class Settings:
    """The data set's own section, and how files that it names are fetched.

    Attributes:
        sources: sha256 of the files that the data set is read from, by path.
    """

    dataset: DatasetSection
    download: DownloadConfig = field(default_factory=DownloadConfig)
    sources: Mapping[str, str] = field(default_factory=dict)


def stage(config: Config, sources: Sources) -> Stage:
    """The stage of these settings. What a data set lists is no part of the recipe: growth dirties new shards alone."""
    name = config.dataset.name
    dataset = DATASETS.load(name)
    hashes = sources.hashes(dataset.sources(config.dataset)) if sources.needed else {}
    asked = config.dataset.model_dump_json()
    listing = sources.look(asked, partial(dataset.listing, config.dataset)) if sources.needed else Listing()
    if not isinstance(listing, Listing):
        raise DATASETS.refusal(name, f"listing gives {listing!r}, expected a Listing")
    return Stage(
        name="index",
        version=VERSION,
        recipe=recipe("dataset", config.dataset) | DATASETS.recipe(name),
        outside={
            **content("dataset", config.dataset),
            **hashes,
            "files": listing.digest,
        },
        settings=Settings(config.dataset, config.download, hashes),
        run=run,
        upstream={},
        outputs=OUTPUTS,
        place="compute",
        folder=FOLDER,
        estimate=partial(_estimate, listing),
    )


def left(storage: Storage, reader: str) -> Inputs:
    """What this stage left in a work folder, whatever its settings: for whoever looks before a graph is made.

    Args:
        reader: who looks, for error texts.
    """
    return Inputs(storage, reader, {"index": files_left(Ledger(storage, "index", FOLDER, RECORD), OUTPUTS)})


def _estimate(listing: Listing, facts: Mapping[str, Any]) -> Estimate:
    """What a look at the data set tells, whatever else is known of it."""
    counted = {} if listing.images is None else {"images": listing.images}
    return Estimate(rows=listing.images, row_bytes=_ROW_BYTES, at_most=True, facts={**counted, **listing.facts})


def run(task: Task) -> list[Output]:
    """Bring index, annotations and label space up to date with the data set.

    Returns:
        An output for every shard, changed or not, and one without shard for the label space.

    Raises:
        PipelineError: what the data set says of itself is contradictory.
        IntegrityError: a shard written before is damaged, or a list is no longer the file that the run began with.
    """
    dataset = DATASETS.load(task.settings.dataset.name)
    left_out: Counter[str] = Counter()
    tables = _as_declared(task.settings.dataset.name, dataset.records(task.settings.dataset, left_out))
    with (
        fetching(task.settings.download),
        open_table_spool(task.storage.scratch(task.folder), tables, RECORDS) as records,
    ):
        labels = dataset.labels(task.settings.dataset)
        if not all(isinstance(label, Label) for label in labels):
            raise DATASETS.refusal(task.settings.dataset.name, f"labels gives {labels[:1]!r}, expected each a Label")
        require_unchanged(task.settings.sources)  # before a row of it can become one of the index for good
        known = _known_ids(task)
        shards = _place(known, _distinct_ids(task, records), task.settings.dataset.shard_images)
        label_ids, output = _grow_labels(task, labels, left_out)
        outputs, borne = [output], np.zeros(len(label_ids), np.int64)
        rows, total = 0, sum(len(places) for places in shards.values())
        for number, places in sorted(shards.items()):
            stopping.heed(task.deadline)
            outputs.append(_Shard(task, number, places, known=number in known).write(records, label_ids, borne))
            rows += len(places)
            tell(rows, total, counted(rows, total, "rows"))
    images = dict(zip(label_ids.to_pylist(), borne.tolist(), strict=True))
    for text in sentences(census(labels, images), rare_only=True):
        _log.warning("index: %s", text)
    return outputs


def _as_declared(dataset: str, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    for table in tables:
        if not (isinstance(table, pa.Table) and table.schema.equals(RECORDS)):
            told = table.column_names if isinstance(table, pa.Table) else type(table).__name__
            raise DATASETS.refusal(dataset, f"records gives a table of {told}, expected columns as in RECORDS")
        yield table


@dataclass(frozen=True)
class _Shard:
    """One shard to be.

    Attributes:
        places: number of the record for each row, or _TOMBSTONE.
        known: whether the shard stands already.
    """

    task: Task
    number: int
    places: np.ndarray
    known: bool

    def write(self, records: TableSpool, labels: pa.Array, borne: np.ndarray) -> Output:
        """Write what differs from the files that stand.

        Args:
            labels: their ids.
            borne: images that bear each label, to which those of the shard are added.
        """
        standing = _standing(self.task, "index", self.number) if self.known else None
        annotated = _standing(self.task, "annotations", self.number) if self.known else None
        credited = _standing(self.task, "credits", self.number) if self.known else None
        listed = records.rows(self.places[self.places != _TOMBSTONE])
        index, annotations, whose = _index_rows(listed), _annotation_rows(listed, labels), _credit_rows(listed)
        borne += np.bincount(annotations["positive"].combine_chunks().flatten(), minlength=len(borne))
        if standing is not None and (self.places == _TOMBSTONE).any():
            gone = standing.filter(pa.array(self.places == _TOMBSTONE))
            index = self._in_order(index, _tombstones(gone))
            annotations = self._in_order(annotations, _nothing_said(gone, ANNOTATIONS))
            whose = self._in_order(whose, _nothing_said(gone, CREDITS))
        changed = {} if standing is not None and index.equals(standing) else {"index": index}
        if annotated is None or annotations != annotated:
            changed["annotations"] = annotations
        if whose != credited and (credited is not None or _says(whose)):
            changed["credits"] = whose
        contents = said = self._said()
        if changed or not said:
            contents = _contents(index, annotations)
        if changed and said and standing is not None and annotated is not None:
            # Parquet has another name for the items of lists, which is part of a hash.
            before = _contents(standing.cast(INDEX), annotated.cast(ANNOTATIONS))
            contents = _as_said(said, before, contents)
        if changed:
            withdraw(self.task, self.number)
        for name, table in changed.items():
            write_table(self.task.storage, self.task.path(name, self.number), table)
        return Output(
            files=("index", "annotations", *(("credits",) if credited is not None or "credits" in changed else ())),
            rows=index.num_rows,
            shard=self.number,
            counts=_counts(index, annotations),
            content=contents.pop(_WHOLE),
            parts=contents,
        )

    def _said(self) -> dict[str, str]:
        """The hashes of what stands, as its receipt says them; empty where it has none."""
        if not self.task.inputs.has("index", self.number):
            return {}
        receipt = self.task.inputs.receipt("index", self.number)
        return {_WHOLE: receipt.content, **receipt.parts}

    def _in_order(self, listed: pa.Table, gone: pa.Table) -> pa.Table:
        """Both kinds of rows, each where it belongs."""
        belongs_at = np.concatenate(
            [np.flatnonzero(self.places != _TOMBSTONE), np.flatnonzero(self.places == _TOMBSTONE)]
        )
        return pa.concat_tables([listed, gone]).take(pa.array(np.argsort(belongs_at))).combine_chunks()


def _contents(index: pa.Table, annotations: pa.Table) -> dict[str, str]:
    """Hashes of what the stages after this one depend on: of all of it, and of its parts."""
    places = _without_paths(index.drop_columns(_FILE_STAMP))
    labelled = places.append_column("labelled", annotations["positive"].is_valid())
    return {
        _WHOLE: content_hash(places, annotations),
        FILES: content_hash(index),
        PLACES: content_hash(places),
        LABELLED: content_hash(labelled),
    }


def _without_paths(index: pa.Table) -> pa.Table:
    """The table without the paths of local files, so that data that were moved are the same data."""
    column = index.schema.get_field_index("locations")
    lists = index["locations"].combine_chunks()
    places = lists.flatten()
    address = pc.if_else(pc.equal(places.field("source"), LOCAL_SOURCE), None, places.field("address"))
    fields = [address if field.name == "address" else places.field(field.name) for field in LOCATION]
    pathless = _lists(lists, pa.StructArray.from_arrays(fields, fields=list(LOCATION)))
    return index.set_column(column, index.schema.field(column), pathless)


def _as_said(said: Mapping[str, str], before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """The hashes of a shard, each as its receipt said it where nothing changed that it counts.

    Versions before counted paths of local files, and knew fewer parts: what was made of their shards stays valid.

    Args:
        said: by the receipt of what stands.
        before: of what stands, as they are counted now.
        now: of what is to stand.
    """
    if before[_WHOLE] == now[_WHOLE]:
        now = {name: now[name] for name in said}
    return {name: said[name] if name in said and before[name] == hashed else hashed for name, hashed in now.items()}


def _known_ids(task: Task) -> dict[int, pa.ChunkedArray]:
    """Ids of the images in each shard that stands, by shard number."""
    folder = PurePosixPath(task.path("index", 0)).parent
    found = (_SHARD_FILE.fullmatch(name) for name in task.storage.sizes(str(folder)))
    numbers = sorted(int(match[1]) for match in found if match)
    tables = ((number, _standing(task, "index", number)) for number in numbers)
    return {number: table["image_id"] for number, table in tables if table is not None}


def _standing(task: Task, name: str, shard: int | None) -> pa.Table | None:
    """A table that this stage left before; None where there is none.

    A kill in the middle of an index leaves shards without receipts. They are whole, and say where rows belong.
    """
    if not task.storage.exists(task.outputs[name].at(shard)):
        return None
    if task.inputs.has("index", shard):
        return task.inputs.table("index", name, shard) if task.inputs.names("index", name, shard) else None
    return task.inputs.unproven_table(task.outputs[name], shard)


def _distinct_ids(task: Task, records: TableSpool) -> pa.ChunkedArray:
    """Ids of the images that the data set lists, in its order."""
    name = task.settings.dataset.name
    ids = pa.chunked_array(list(records.column("image_id")), pa.string())
    if not len(ids):
        raise PipelineError(f"data set {name!r} lists no image; expected at least 1. Check the section [dataset]")
    counts = ids.value_counts() if pc.count_distinct(ids).as_py() < len(ids) else None
    if counts is not None:
        times = pc.struct_field(counts, "counts")
        worst = counts[pc.index(times, pc.max(times)).as_py()]
        raise PipelineError(
            f"data set {name!r} lists the image {worst['values']} {worst['counts']} times;",
            expected="each id once",
            hint="Mend the list that it is read from",
        )
    return ids


def _place(known: Mapping[int, pa.ChunkedArray], ids: pa.ChunkedArray, shard_images: int) -> dict[int, np.ndarray]:
    """Which record stands in which row of which shard.

    Returns:
        By shard number, the record number of each row, or _TOMBSTONE where the data set no longer lists the image.
        New images fill new shards, the lowest free numbers first, so that a shard whose file was removed comes back.
    """
    old = [chunk for shard in known.values() for chunk in shard.chunks]
    at = pc.index_in(_large(ids), value_set=_large(pa.chunked_array(old, pa.string())).combine_chunks())
    row_of = at.fill_null(-1).to_numpy().astype(np.int64)
    lengths = [len(shard) for shard in known.values()]
    places = np.full(sum(lengths), _TOMBSTONE, dtype=np.int64)
    places[row_of[row_of >= 0]] = np.flatnonzero(row_of >= 0)
    shards = dict(zip(known, np.split(places, np.cumsum(lengths)[:-1]), strict=True)) if known else {}
    new = np.flatnonzero(row_of < 0)
    free = (number for number in count() if number not in known)
    for start, number in zip(range(0, len(new), shard_images), free, strict=False):
        shards[number] = new[start : start + shard_images]
    return shards


def _large(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """With 64-bit offsets: the ids of all images together may exceed 2 GiB."""
    return ids.cast(pa.large_string())


def _grow_labels(task: Task, labels: Sequence[Label], left_out: Mapping[str, int]) -> tuple[pa.Array, Output]:
    """Ids of all labels by label index, and the output for their table; new labels are added at its end.

    The roles are not in the table (a split's business), but in the output's content: a label that changes sides matters
    to the stages after this one.
    """
    names = {label.label_id: label.name for label in labels}
    assert len(names) == len(labels), "a data set names each label id once"
    standing = _standing(task, "labels", None)
    if standing is not None:
        names = {row["label_id"]: row["name"] for row in standing.to_pylist()} | names
    columns = {"label_index": range(len(names)), "label_id": list(names), "name": list(names.values())}
    table = pa.table({name: pa.array(values) for name, values in columns.items()}).cast(LABELS)
    if table != standing:
        write_table(task.storage, task.path("labels"), table)
    roles = pa.table({"label_id": [label.label_id for label in labels], "role": [label.role for label in labels]})
    output = Output(
        files=("labels",),
        rows=len(table),
        content=content_hash(table, roles),
        parts=dict.fromkeys((FILES, PLACES, LABELLED), "no images"),
        facts={"labels": len(labels), "left_out": {kind: count for kind, count in left_out.items() if count}},
    )
    return table["label_id"].combine_chunks(), output


def _index_rows(records: pa.Table) -> pa.Table:
    listed = records.select([name for name in INDEX.names if name != "removed"])
    return listed.append_column("removed", pa.repeat(False, len(records))).cast(INDEX).combine_chunks()


def _tombstones(rows: pa.Table) -> pa.Table:
    """The rows as they were last seen, marked."""
    return rows.drop_columns("removed").append_column("removed", pa.repeat(True, len(rows))).cast(INDEX)


def _annotation_rows(records: pa.Table, labels: pa.Array) -> pa.Table:
    columns = [
        records["image_id"],
        _label_indices(records["positive"].combine_chunks(), labels),
        _label_indices(records["negative"].combine_chunks(), labels),
        records["label_source"],
    ]
    return pa.table(columns, schema=ANNOTATIONS).combine_chunks()


def _credit_rows(records: pa.Table) -> pa.Table:
    whose = records["credit"].combine_chunks()
    return pa.table([records["image_id"], *whose.flatten()], schema=CREDITS).combine_chunks()


def _says(whose: pa.Table) -> bool:
    return any(column.null_count < len(column) for column in whose.drop_columns("image_id").columns)


def _nothing_said(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """What stands beside tombstones."""
    nulls = [pa.nulls(len(rows), field.type) for field in schema if field.name != "image_id"]
    return pa.table([rows["image_id"], *nulls], schema=schema)


def _label_indices(names: pa.Array, labels: pa.Array) -> pa.Array:
    """Lists of label ids as lists of label indices; null stays null.

    Raises:
        PipelineError: an image bears a label that the data set does not list.
    """
    named = names.flatten()
    indices = pc.index_in(named, value_set=labels)
    if indices.null_count:
        stray = named.filter(indices.is_null())[0].as_py()
        raise PipelineError(
            f"an image bears the label {stray!r}, which is not among the {len(labels)} labels of its data set",
            hint="If its files changed just now, run the same command again:",
            run=AGAIN,
        )
    return _lists(names, indices)


def _lists(like: pa.Array, values: pa.Array) -> pa.Array:
    """Values in lists as long as these are, and null where these are."""
    lengths = pc.list_value_length(like).fill_null(0).to_numpy()
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, values, mask=like.is_null())


def _counts(index: pa.Table, annotations: pa.Table) -> dict[str, int]:
    """Rows by what is known of them; they add up to all rows."""
    removed = pc.sum(index["removed"]).as_py()
    unlabelled = annotations["positive"].null_count - removed
    counts = {"labelled": index.num_rows - removed - unlabelled, "unlabelled": unlabelled, "removed": removed}
    return {name: rows for name, rows in counts.items() if rows}
