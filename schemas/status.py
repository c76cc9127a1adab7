"""What can become of an image: a closed list, so that counts can be compared between runs and versions."""

from enum import StrEnum


class ImageStatus(StrEnum):
    """Outcome of one image, as stored in the `status` column of `downloads` and `features` shards."""

    OK = "ok"
    # the data set
    REMOVED = "removed"  # was in the index once, is no longer: the row stays as a tombstone
    UNLABELLED = "unlabelled"  # nobody labelled it, and `extract.only_labelled` leaves such images out
    # fetching over http
    NOT_FOUND = "not_found"  # 404
    GONE = "gone"  # 410
    FORBIDDEN = "forbidden"  # 401, 403, 451
    HTTP_ERROR = "http_error"  # any other answer that is neither success nor redirect
    RATE_LIMITED = "rate_limited"  # 429 to the last attempt
    SERVER_ERROR = "server_error"  # 5xx, 408, 421 or 425 to the last attempt
    TIMEOUT = "timeout"  # the deadline of the image passed
    CONNECTION_ERROR = "connection_error"  # refused, reset, closed
    DNS_ERROR = "dns_error"
    TLS_ERROR = "tls_error"
    BAD_REDIRECT = "bad_redirect"  # a loop, too many, or to another scheme
    TRUNCATED_BODY = "truncated_body"  # fewer bytes than Content-Length says
    TOO_LARGE = "too_large"  # more bytes than `download.max_bytes`
    BAD_ADDRESS = "bad_address"  # not an http(s) address, or none at all
    PRIVATE_ADDRESS = "private_address"  # a private, loopback or link-local address that no setting allows
    OPTED_OUT = "opted_out"  # the server says that its owner wants it in no training set
    PLACEHOLDER = "placeholder"  # a picture that says that the picture is unavailable
    HASH_MISMATCH = "hash_mismatch"  # not the file that the data set describes: another size or MD5
    # fetching from a disk
    MISSING_FILE = "missing_file"
    UNREADABLE_FILE = "unreadable_file"  # permission, a folder, an I/O error
    # looking at the bytes
    EMPTY = "empty"  # zero bytes
    NOT_AN_IMAGE = "not_an_image"  # no image format that we read
    TOO_MANY_PIXELS = "too_many_pixels"  # the header announces more than `download.max_pixels`
    DECODE_ERROR = "decode_error"  # the header is fine, the pixels are not
    UNKNOWN_RANGE = "unknown_range"  # pixels are fractions or 32-bit numbers: nobody knows which one is white
    NON_FINITE = "non_finite"  # the network's answer holds NaN or infinity


# What a row can be beside what it should be.
FAILURES = frozenset(ImageStatus) - {ImageStatus.OK, ImageStatus.REMOVED, ImageStatus.UNLABELLED}
# Those that count against `extract.max_failed_fraction`: an owner who opted out did not fail.
FAULTS = FAILURES - {ImageStatus.OPTED_OUT}

# Another attempt may go better: the downloader tries these again within a run.
PASSING = frozenset(
    {
        ImageStatus.RATE_LIMITED,
        ImageStatus.SERVER_ERROR,
        ImageStatus.TIMEOUT,
        ImageStatus.CONNECTION_ERROR,
        ImageStatus.DNS_ERROR,
        ImageStatus.TRUNCATED_BODY,
    }
)

# Another run would not go better either: `--retry-failed` leaves these alone unless it names them.
PERMANENT = frozenset({ImageStatus.NOT_FOUND, ImageStatus.GONE, ImageStatus.PLACEHOLDER, ImageStatus.OPTED_OUT})


class LabelRole(StrEnum):
    """Whether training may see a label's annotations."""

    SEEN = "seen"
    UNSEEN = "unseen"
    LEFT_OUT = "left_out"  # an unseen label while seen ones are hidden in its place (`split.held_out_fold`)


class ImageSplit(StrEnum):
    """What an image is used for."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class LabelCode:
    """The cell of an (image, label) table. 0 is only ever 'nobody looked'."""

    PRESENT = 1
    ABSENT = -1
    UNKNOWN = 0
