"""What became of a request, in the words of the closed status list. Needs no network and no http library.

Error texts name no host, no port and no time, so that equal answers leave equal bytes in the tables.
"""

import hashlib
import time
from collections.abc import Collection
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from schemas.status import ImageStatus

_PLACEHOLDER_BYTES = 1 << 14  # those known have 2 to 9 kB; larger bodies are not hashed for it

_BY_CODE: dict[int, ImageStatus] = {
    HTTPStatus.UNAUTHORIZED: ImageStatus.FORBIDDEN,
    HTTPStatus.FORBIDDEN: ImageStatus.FORBIDDEN,
    HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS: ImageStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND: ImageStatus.NOT_FOUND,
    HTTPStatus.GONE: ImageStatus.GONE,
    HTTPStatus.TOO_MANY_REQUESTS: ImageStatus.RATE_LIMITED,
    HTTPStatus.REQUEST_TIMEOUT: ImageStatus.SERVER_ERROR,
    HTTPStatus.MISDIRECTED_REQUEST: ImageStatus.SERVER_ERROR,
    HTTPStatus.TOO_EARLY: ImageStatus.SERVER_ERROR,
}


@dataclass(frozen=True)
class Answer:
    """What one address gave.

    Attributes:
        status: `ok` says that `data` is the whole body, nothing about what it holds.
        error: why there is no data; None when there is.
        retry_after_s: how long the server asks to wait before another attempt.
    """

    status: ImageStatus
    data: bytes = b""
    error: str | None = None
    retry_after_s: float = 0.0


def is_placeholder(data: bytes, known_md5: Collection[str]) -> bool:
    """Whether a body is a picture that says that the picture is unavailable.

    Args:
        known_md5: 32 hex digits each.
    """
    if len(data) > _PLACEHOLDER_BYTES:
        return False
    return hashlib.md5(data, usedforsecurity=False).hexdigest() in known_md5


def refusal(code: int, retry_after: str | None) -> Answer | None:
    """The answer that a status code alone decides, or None where the body is what was asked for.

    Redirects are not decided here. 206 is a refusal: no range was asked for, so the body is not the whole image.
    """
    if HTTPStatus.OK <= code < HTTPStatus.MULTIPLE_CHOICES and code != HTTPStatus.PARTIAL_CONTENT:
        return None
    other = ImageStatus.SERVER_ERROR if code >= HTTPStatus.INTERNAL_SERVER_ERROR else ImageStatus.HTTP_ERROR
    return Answer(_BY_CODE.get(code, other), error=f"HTTP {code}", retry_after_s=wait_asked_for(retry_after))


def wait_asked_for(retry_after: str | None) -> float:
    """Seconds that a `Retry-After` header asks for; 0 where there is none or it cannot be read.

    Source: RFC 9110, section 10.2.3: a number of seconds, or a date.
    """
    if retry_after is None:
        return 0.0
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0
