"""Addresses of the demo's files below its server.

A picture's address carries what shapes its bytes: another seed is another address, hence a changed row that is
downloaded again. The word vectors are always the same.
"""

from urllib.parse import urlsplit

SOURCE = "demo"

# Of scenes and drawing: raised whenever they give another picture for the same seed and number.
EDITION = 1

VECTORS_ADDRESS = "vectors.txt"


def picture_address(seed: int, number: int) -> str:
    """Address of one picture below the server."""
    return f"images/{number:06d}.jpg?{_query(seed)}"


def picture_number(target: str, seed: int, num_images: int) -> int | None:
    """Number of the picture that the target of a request names; None where there is no such picture."""
    parts = urlsplit(target)
    digits = parts.path.removeprefix("/images/").removesuffix(".jpg")
    if parts.path != f"/images/{digits}.jpg" or parts.query not in ("", _query(seed)):
        return None
    if not (digits.isascii() and digits.isdigit()) or f"{int(digits):06d}" != digits:
        return None
    return int(digits) if int(digits) < num_images else None


def _query(seed: int) -> str:
    return f"seed={seed}&edition={EDITION}"
