"""What a look at the outside world tells of a data set before anything of it is read in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Listing:
    """What was seen, and what follows from it for those who plan a run.

    Attributes:
        digest: hash of names, sizes and time stamps; "" where there is nothing to look at.
        images: that there will be; None where to count them takes long.
        facts: what else is known, as JSON values: `fetched`, how many of the images do not lie on this machine;
            `images_a_label`, as `pipeline.datasets.census.census` gives it; `remarks`, texts on what is probably meant
            otherwise. docs/plan.md names the others.
    """

    digest: str = ""
    images: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict, hash=False)
