"""A text as each scheduler's files have it, so that what comes out is what went in."""

import json
import re
import shlex
from collections.abc import Iterable
from pathlib import Path

_PLAIN = re.compile(r"[A-Za-z0-9_@+=:,./-]+")
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
    """A value that takes the rest of its line."""
    return str(value).replace("%", "%%")


def yaml(value: str | Path) -> str:
    """A text in YAML, of which JSON is a part."""
    return json.dumps(str(value), ensure_ascii=False)


def kubernetes_argument(value: str) -> str:
    """A word of a command line in Kubernetes, which also fills in `$(VARIABLE)`."""
    return yaml(value.replace("$(", "$$("))


def in_comment(value: str | Path) -> str:
    """A text that ends no line, for people to read."""
    return " ".join(str(value).split())
