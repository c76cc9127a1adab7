"""Changes of sound bytes, drawn by Hypothesis, and what came of them: how often, how slowly, in how much memory."""

import resource
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

Outcome = Callable[[bytes], str]

MOST_MB = 1000


@dataclass(frozen=True)
class Kind:
    """Something that comes from outside.

    Attributes:
        seeds: sound ones, and such as were made to do harm.
        outcome: what a changed one came to; raises where that has no name.
        examples: how many changed ones there are by default.
        words: that mean something in it, to be put where others stand.
        deadline_s: that none of them may take longer than.
    """

    seeds: Sequence[bytes]
    outcome: Outcome
    examples: int = 1000
    words: Sequence[bytes] = ()
    deadline_s: float = 5.0


@dataclass
class Told:
    """What the changed ones of one kind came to.

    Attributes:
        outcomes: how many had each.
        slowest_s: the longest that one took.
        peak_mb: the most memory that this process has had until then.
    """

    deadline_s: float
    outcomes: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    peak_mb: float = 0.0

    @property
    def faults(self) -> list[str]:
        """What is not as it should be."""
        late = f"a case took {self.slowest_s:.1f} s, expected {self.deadline_s:g} at most"
        large = f"{self.peak_mb:,.0f} MB, expected {MOST_MB:,} at most"
        return [late] * (self.slowest_s > self.deadline_s) + [large] * (self.peak_mb > MOST_MB)

    def __str__(self) -> str:
        counts = ", ".join(f"{name} {count}" for name, count in self.outcomes.most_common())
        peak = f"slowest {self.slowest_s:.2f} s, peak {self.peak_mb:,.0f} MB"
        return "; ".join([f"{self.outcomes.total()}: {counts}", peak, *self.faults])


def fuzz(kind: Kind, examples: int | None = None) -> Told:
    """So many changed ones, each looked at, then the seeds; what has no name is raised, made small."""
    told = Told(kind.deadline_s)
    for seed in kind.seeds:  # once in advance, so that no import counts as slow
        kind.outcome(seed)

    def look(data: bytes) -> None:
        started = time.perf_counter()
        told.outcomes[kind.outcome(data)] += 1
        told.slowest_s = max(told.slowest_s, time.perf_counter() - started)

    @settings(
        max_examples=examples or kind.examples, derandomize=True, database=None, deadline=None,
        phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(changed(kind.seeds, kind.words))
    def each(data: bytes) -> None:
        look(data)

    each()
    for seed in kind.seeds:
        look(seed)
    told.peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return told


# Of a file, from 0 to 2**32 for its end. Drawn integers are mostly small, and would meet little but the first bytes.
_place = st.integers(0, 2**32 - 1).map(lambda drawn: drawn * 2654435761 % 2**32)


@st.composite
def changed(draw: st.DrawFn, seeds: Sequence[bytes], words: Sequence[bytes] = ()) -> bytes:
    """One of the seeds with one to five changes; half of them get gentle ones, which reach deeper."""
    data = bytearray(draw(st.sampled_from(seeds)))
    gentle = draw(st.booleans())
    kinds = ["bit", "bit", "number", "move"] if gentle else [*_ROUGH, "bit", "number", "move"]
    for _ in range(draw(st.integers(1, 3 if gentle else 5))):
        at = draw(_place) * len(data) >> 32
        length = draw(st.sampled_from((1, 1, 1, 2, 4, 16, 200)))
        span = bytes(data[at : at + length])
        match draw(st.sampled_from([*kinds, *["word"] * (2 * bool(words))])):
            case "bit":
                data[at : at + 1] = bytes(byte ^ 1 << draw(st.integers(0, 7)) for byte in span[:1])
            case "number":
                number = draw(st.sampled_from((0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)))
                wide = draw(st.sampled_from((1, 2, 4)))
                order = draw(st.sampled_from(("big", "little")))
                data[at : at + wide] = (number % 256**wide).to_bytes(wide, order)
            case "move":
                place = draw(_place) * len(data) >> 32
                data[place : place + length] = span
            case "word":
                data[at : at + draw(st.sampled_from((0, 0, 1, length)))] = draw(st.sampled_from(words))
            case "replace":
                data[at : at + length] = draw(st.binary(min_size=len(span), max_size=len(span)))
            case "put in":
                data[at:at] = draw(st.binary(min_size=1, max_size=length))
            case "double":
                data[at:at] = span
            case "cut out":
                del data[at : at + length]
            case "cut off":
                del data[at:]
    return bytes(data)


_ROUGH = ("replace", "put in", "double", "cut out", "cut off")
