"""Kinds of values that settings have. A kind's description is what error texts say of it."""

from ipaddress import ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

_MOST = 10**12  # of anything that is counted; more is a typing error


def _networks(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        try:
            ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f'{text!r} is no network, expected some such as "10.0.0.0/8" or "fd00::/8"') from None
    return texts


def _templates(prompts: tuple[str, ...]) -> tuple[str, ...]:
    if not prompts:
        raise ValueError("got no prompt, expected at least one, such as 'a photo of a {}.'")
    for text in () if prompts == ("ensemble",) else prompts:
        if text.count("{}") != 1:
            raise ValueError(f"got {text!r}, expected one {{}} in the label's place, or 'ensemble' alone")
    return prompts


def _different(ks: tuple[int, ...]) -> tuple[int, ...]:
    """In ascending order, so that equal questions have equal recipes."""
    if not ks:
        raise ValueError("got no K, expected at least one. Use: null, for those of the protocol")
    if twice := sorted({k for k in ks if ks.count(k) > 1}):
        raise ValueError(f"got {twice[0]} more than once, expected each K once")
    return tuple(sorted(ks))


Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(ge=1, le=_MOST)]
NotNegative = Annotated[int, Field(ge=0, le=_MOST)]
Workers = Annotated[int, Field(ge=1, le=1024)]  # threads or processes: a machine has no more cores
SomeWorkers = Annotated[int, Field(ge=0, le=1024)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
Ks = Annotated[tuple[Positive, ...], AfterValidator(_different)]
Texts = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
Prompts = Annotated[Texts, AfterValidator(_templates)]
Networks = Annotated[Texts, AfterValidator(_networks)]
FolderName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="a folder's name of letters, digits, '.', '_' and '-'"),
]
RowName = Annotated[
    str,
    Field(
        pattern=r"^[^\s\p{Cc}]([^\p{Cc}\x{2028}\x{2029}]*[^\s\p{Cc}])?$",
        description="a name on one line, with nothing blank at its ends",
    ),
]
Device = Annotated[
    str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="one of: auto, cpu, mps, cuda, cuda:N")
]
NotBelowZero = Annotated[float, Field(ge=0.0, le=1e6)]  # the weight of a part of a loss
Decay = Annotated[float, Field(ge=0.0, lt=1.0)]
Rate = Annotated[float, Field(gt=0.0, le=10.0)]  # of learning; Adam moves a weight by about so much in a step
Seconds = Annotated[float, Field(gt=0.0, le=604_800.0)]  # a week
OfficialSplit = Literal["train", "validation", "test"]
