"""Arrow schemas of the tables in a work folder. Names and types here are a contract with other programs."""

import pyarrow as pa

# Where an image can be had. `source` names the kind and is what the downloads table says of the one that answered;
# `address` is a path where the source is 'local', else a full http(s) address, or one below the base address of its
# source, which the data set resolves at run time; where the source is 'tar', that of a tar.gz, '#' and the name of the
# file in it. Size and MD5 (32 hex digits) are those that the data set promises.
LOCATION = pa.struct(
    [("source", pa.string()), ("address", pa.string()), ("size_bytes", pa.int64()), ("md5", pa.string())]
)

LOCAL_SOURCE = "local"
# Of an image of which only features are there: the address is the name of the file that holds them.
FEATURES_SOURCE = "features"

# Who made an image, under which terms, and the page that shows it; each null where the data set does not say.
CREDIT = pa.struct([("author", pa.string()), ("licence", pa.string()), ("landing_page", pa.string())])

# One row an image; `locations` best first.
INDEX = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("locations", pa.list_(LOCATION)),
        pa.field("split", pa.string()),  # official split, null where the data set has none
        pa.field("rotation", pa.int16()),  # degrees counter-clockwise, null where the data set does not say
        pa.field("size_bytes", pa.int64()),  # of a local file when it was indexed
        pa.field("modified_ns", pa.int64()),  # of a local file when it was indexed
        pa.field("removed", pa.bool_(), nullable=False),  # a tombstone: once there, now gone
    ]
)

# What a data set hands to the index stage: INDEX without `removed`, and labels by their ids.
RECORDS = pa.schema(
    [field for field in INDEX if field.name != "removed"]
    + [
        pa.field("positive", pa.list_(pa.string())),  # null: nobody labelled this image
        pa.field("negative", pa.list_(pa.string())),  # null: every label that is not positive is absent
        pa.field("label_source", pa.string()),  # human | tags | tags+human (seen labels are tags) | machine
        pa.field("credit", CREDIT),
    ]
)

ANNOTATIONS = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("positive", pa.list_(pa.int32())),
        pa.field("negative", pa.list_(pa.int32())),
        pa.field("source", pa.string()),
    ]
)

# Row by row as in the index, of data sets that say such things.
CREDITS = pa.schema([pa.field("image_id", pa.string(), nullable=False), *CREDIT])

LABELS = pa.schema(
    [
        pa.field("label_index", pa.int32(), nullable=False),
        pa.field("label_id", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
    ]
)

DOWNLOADS = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("error", pa.string()),
        pa.field("source", pa.string()),  # the kind of location that answered
        pa.field("size_bytes", pa.int64()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("sha256", pa.string()),
    ]
)

# `data` is null where the image failed, or where it lies on a local disk and is read from there.
IMAGES = pa.schema([pa.field("image_id", pa.string(), nullable=False), pa.field("data", pa.large_binary())])

IMAGE_SPLITS = pa.schema([pa.field("image_id", pa.string(), nullable=False), pa.field("split", pa.string())])

LABEL_ROLES = pa.schema(
    [pa.field("label_index", pa.int32(), nullable=False), pa.field("role", pa.string(), nullable=False)]
)


# The vectors of a file have one size, which `embeddings` fills in.
EMBEDDINGS = pa.schema(
    [
        pa.field("label_index", pa.int32(), nullable=False),
        pa.field("label_id", pa.string(), nullable=False),
        pa.field("vector", pa.list_(pa.float32())),  # l2-normalised; null where no word was found
        pa.field("words_found", pa.list_(pa.string()), nullable=False),
        pa.field("words_missing", pa.list_(pa.string()), nullable=False),
    ]
)


def embeddings(dimensions: int) -> pa.Schema:
    """Schema of a label matrix with word vectors of that many dimensions."""
    vector = pa.field("vector", pa.list_(pa.float32(), dimensions))
    return EMBEDDINGS.set(EMBEDDINGS.get_field_index("vector"), vector)


PER_LABEL = pa.schema(
    [
        pa.field("label_index", pa.int32(), nullable=False),
        pa.field("label_id", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("role", pa.string(), nullable=False),
        pa.field("positives", pa.int64(), nullable=False),
        pa.field("negatives", pa.int64(), nullable=False),
        pa.field("average_precision", pa.float64()),  # null where the protocol gives the label none
        pa.field("chance", pa.float64()),  # average precision of random scores under the same protocol
    ]
)

# Test images with what the model said of them; labels are label indices.
EXAMPLES = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("shard", pa.int32(), nullable=False),
        pa.field("row", pa.int32(), nullable=False),  # in the shard
        pa.field("positive", pa.list_(pa.int32()), nullable=False),
        pa.field("top", pa.list_(pa.int32()), nullable=False),  # best first
        pa.field("top_scores", pa.list_(pa.float32()), nullable=False),
        pa.field(
            "maps",  # of the unseen labels that the image has; where it has none, of some that it has
            pa.list_(
                pa.struct(
                    [
                        ("label_index", pa.int32()),
                        ("height", pa.int16()),
                        ("width", pa.int16()),
                        ("values", pa.list_(pa.float32())),  # row by row
                    ]
                )
            ),
            nullable=False,
        ),
    ]
)

# Scores of the evaluated images, for other programs and for comparing runs; both lists have one value for each row of
# per_label.parquet, in its order.
SCORES = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("codes", pa.list_(pa.int8()), nullable=False),  # +1 present, -1 absent, 0 unknown
        pa.field("scores", pa.list_(pa.float32()), nullable=False),  # as they were evaluated
    ]
)


def scores(num_labels: int) -> pa.Schema:
    """Schema of the scores of that many labels."""
    lists = {name: pa.field(name, pa.list_(SCORES.field(name).type.value_type, num_labels), False) for name in _LISTS}
    return pa.schema([lists.get(column.name, column) for column in SCORES])


_LISTS = ("codes", "scores")
