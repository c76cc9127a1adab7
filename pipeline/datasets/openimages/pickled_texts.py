"""Texts of a pickled NumPy array, read without unpickling.

A pickle is a program: it can call what it names, and 40 bytes can ask for 5 GB. The few steps that write an array of
texts are followed here by hand, on plain values; whatever else stands there is refused. Memory is in proportion to the
file.
"""

import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST_BYTES = 1 << 20  # 19,000 MIDs take 0.4 MB; a million steps, the most that this holds, take 2 s and 0.2 GB

_ARRAY = {"numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct"}  # NumPy 1 and 2
_KNOWN = {*_ARRAY, "numpy ndarray", "numpy dtype", "_codecs encode"}  # the last before protocol 3, which has no bytes
_IN_TUPLE = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass(frozen=True)
class _Name:
    """What a pickle calls by its name."""

    text: str


@dataclass
class _Made:
    """What a call would have given, and the state that it would have got."""

    by: Any
    arguments: Any
    state: Any = None


def pickled_texts(data: bytes) -> list[str]:
    """The texts of an array of one dimension.

    Raises:
        ValueError: it is something else; the text says what.
    """
    if len(data) > MOST_BYTES:
        raise ValueError(f"more than {MOST_BYTES} bytes")
    steps = _Steps()
    for step, argument, _ in pickletools.genops(data):
        steps.follow(step, argument)
    return _texts(steps.value())


class _Steps:
    """Follows the steps of a pickle on a stack of plain values."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memory: dict[int, Any] = {}

    def value(self) -> Any:
        """What all steps came to."""
        if len(self._stack) != 1 or self._marks:
            raise ValueError("it leaves more or less than one value")
        return self._stack[0]

    def follow(self, step: pickletools.OpcodeInfo, argument: Any) -> None:
        """Take one step.

        Raises:
            ValueError: no array of texts needs it, or what it needs is not there.
        """
        name = step.name
        if name in ("PROTO", "FRAME", "STOP"):
            return
        if name == "MARK":
            self._marks.append(len(self._stack))
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name](argument))
        elif name in _IN_TUPLE:
            self._stack.append(tuple(self._pop(_IN_TUPLE[name])))
        elif name in ("TUPLE", "LIST"):
            since = self._since_mark()
            self._stack.append(tuple(since) if name == "TUPLE" else since)
        elif name in ("APPEND", "APPENDS"):
            more = self._pop(1) if name == "APPEND" else self._since_mark()
            self._top(list).extend(more)
        elif name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
            self._memory[len(self._memory) if argument is None else argument] = self._top(object)
        elif name in ("GET", "BINGET", "LONG_BINGET") and argument in self._memory:
            self._stack.append(self._memory[argument])
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            self._stack.append(_known([argument] if name == "GLOBAL" else self._pop(2)))
        elif name == "REDUCE":
            self._stack.append(_Made(*self._pop(2)))
        elif name == "BUILD":
            (state,) = self._pop(1)
            self._top(_Made).state = state
        else:
            raise ValueError(f"it takes the step {name}")

    def _pop(self, count: int) -> list[Any]:
        first = len(self._stack) - count
        if first < (self._marks[-1] if self._marks else 0):
            raise ValueError("it takes more than it has put")
        taken = self._stack[first:]
        del self._stack[first:]
        return taken

    def _since_mark(self) -> list[Any]:
        if not self._marks:
            raise ValueError("it goes back to a mark that it has not set")
        return self._pop(len(self._stack) - self._marks.pop())

    def _top(self, kind: type) -> Any:
        if not self._stack or not isinstance(self._stack[-1], kind):
            raise ValueError("it changes what is no array")
        return self._stack[-1]


def _known(parts: list[Any]) -> _Name:
    if not all(isinstance(part, str) for part in parts):
        raise ValueError("it asks for what has no name")
    if (name := " ".join(parts)) not in _KNOWN:
        raise ValueError(f"it asks for {'.'.join(name.split())[:100]}")
    return _Name(name)


_CONSTANTS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE"), str),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"), bytes),
    **dict.fromkeys(("BINSTRING", "SHORT_BINSTRING", "STRING"), str),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1"), int),
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_LIST": lambda _: [],
}


def _texts(made: Any) -> list[str]:
    """The texts of the array that these steps make."""
    match made:
        case _Made(by=_Name(text=maker), state=(_, (int(length),), dtype, _, held)) if maker in _ARRAY:
            texts = _held(dtype, held)
        case _:
            raise ValueError("no array of one dimension")
    if len(texts) != length or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{len(texts)} values, expected {length} texts")
    return texts


def _held(dtype: Any, held: Any) -> list[Any]:
    """The values of an array, as its type stores them."""
    match held:
        case _Made(by=_Name(text="_codecs encode"), arguments=(str(text), *_)):
            held = text.encode("latin-1")
    match dtype:
        case _Made(by=_Name(text="numpy dtype"), arguments=(str(kind), *_)) if kind in ("O", "O8"):
            return list(held) if isinstance(held, list) else []
        case _Made(by=_Name(text="numpy dtype"), arguments=(str(kind), *_), state=(_, str(order), *_)) if (
            re.fullmatch("U[1-9][0-9]{0,5}", kind) and order in ("<", ">") and isinstance(held, bytes)
        ):
            values: list[Any] = np.frombuffer(held, f"{order}{kind}").tolist()
            return values
    raise ValueError("no array of texts")
