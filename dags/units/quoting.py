"""A text as each scheduler's files have it, so that what comes out is what went in."""

import json
import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from schemas.errors import UsageError

_PLAIN = re.compile(r"[A-Za-z0-9_@+=:,./-]+")
# Signs that end a line somewhere, or that YAML refuses. JSON escapes those below 0x20 itself.
_UNPRINTED = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "%": "%%"}


def shell(value: str | Path | Iterable[str]) -> str:
    """A word of a POSIX shell, or several."""
    return shlex.quote(str(value)) if isinstance(value, str | Path) else shlex.join(value)


def systemd(value: str | Path) -> str:
    """A word in a list of systemd, such as one of paths or of variables. Source: systemd.syntax(7), "Quoting"."""
    text = str(value)
    return text if _PLAIN.fullmatch(text) else '"' + "".join(_ESCAPES.get(sign, sign) for sign in text) + '"'


def systemd_argument(value: str) -> str:
    """A word of a command line of systemd, which also fills in variables. Source: systemd.service(5)."""
    return systemd(value).replace("$", "$$")


def systemd_line(value: str | Path) -> str:
    """A value that takes the rest of its line, where nothing can be quoted.

    Raises:
        UsageError: it would not end where its line ends.
    """
    text = str(value)
    if text != text.strip() or text.endswith("\\") or _UNPRINTED.search(text):
        raise UsageError(
            "systemd takes no folder whose name begins or ends with a space, ends with a backslash or has a line break",
            got=repr(text),
            hint="Start it from another folder",
        )
    return text.replace("%", "%%")


def yaml(value: str | Path) -> str:
    """A text in YAML, of which JSON is a part, but for signs that YAML takes for line breaks or refuses."""
    return _UNPRINTED.sub(lambda sign: f"\\u{ord(sign[0]):04x}", json.dumps(str(value), ensure_ascii=False))


def kubernetes_argument(value: str) -> str:
    """A word of a command line in Kubernetes, which also fills in `$(VARIABLE)`."""
    return yaml(value.replace("$(", "$$("))


def in_comment(value: str | Path) -> str:
    """A text that ends no line, for people to read."""
    return _UNPRINTED.sub("?", str(value))


def require_text(values: Iterable[str | Path]) -> None:
    """See that texts can stand in a file: a name on a disk can hold bytes that are no text.

    Raises:
        UsageError: one cannot.
    """
    for value in map(str, values):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise UsageError(
                "units are text files in UTF-8, and take no names with other bytes;", got=repr(value)
            ) from error
