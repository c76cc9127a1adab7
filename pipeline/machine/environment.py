"""Environment variables: for a while, so that processes started meanwhile begin with them, and the home folder."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """In this block the variables have these values, and after it those of before."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def provide_home() -> None:
    """Give a user without a home folder one below which nothing can lie.

    In a container a user may have a number alone: no `HOME`, and no line in the password file. Libraries look for their
    settings in it when they are imported, and some of them fail where there is none.
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = os.devnull


def home() -> Path | None:
    """The home folder of this user; None where there is none."""
    try:
        found = Path.home()
    except RuntimeError:
        return None
    return None if found == Path(os.devnull) else found
