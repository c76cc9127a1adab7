"""Settings of the ridge regression, and the ways that are tried where they leave something open. They need no torch."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from schemas.config import ModelSection
from schemas.section import Recipe
from schemas.values import Positive

Strength = Annotated[float, Field(gt=0.0, le=1e12)]
Width = Annotated[float, Field(gt=0.0, le=1e6)]
Form = Literal["conse", "devise", "conse_devise", "kernel", "eszsl"]
Words = Literal["plain", "centred", "whitened"]

FORMS: tuple[Form, ...] = ("conse", "devise", "conse_devise", "kernel", "eszsl")
MIXING = ("conse", "conse_devise")
_TRIED = FORMS[:-1]  # eszsl came to less than the others on photographs, and costs most
STRENGTHS = (1e2, 1e3, 1e4, 1e5)
_WORDS: tuple[Words, ...] = ("plain", "centred", "whitened")
_MIXED = (5, 10, 20, 40)


@dataclass(frozen=True)
class Target:
    """What features are regressed to.

    Attributes:
        kind: labels, 1 for those of an image; the mean vector of those; or 1 and -1 for labels, times their vectors and
            what undoes their scatter.
        words: form of the vectors; None for labels.
    """

    kind: Literal["labels", "mean vector", "both sides"]
    words: Words | None


@dataclass(frozen=True)
class Way:
    """What the settings leave open, decided.

    Attributes:
        mixed_labels: None in forms that mix none.
    """

    form: Form
    words: Words
    strength: float
    mixed_labels: int | None

    @property
    def targets(self) -> list[Target]:
        """What features are regressed to, labels first."""
        labels = [Target("labels", None)] if self.form in ("conse", "kernel", "conse_devise") else []
        vectors = [Target("mean vector", self.words)] if self.form in ("devise", "conse_devise") else []
        return [*labels, *vectors] or [Target("both sides", self.words)]


class RidgeConfig(ModelSection):
    """Ridge regression from features to seen labels or to their words, in closed form."""

    name: Recipe[str] = "ridge"
    """Name of the model; see `show models`."""
    preset: Recipe[Literal["default", "conse", "devise", "eszsl"]] = "default"
    """Name of a set of settings of `model` and `train` that belong together: `default` leaves form, words, strength and
    mixed labels open; `conse`, `devise` and `eszsl` are the usual closed forms, their strength chosen by seen labels.
    """
    form: Recipe[Form | None] = None
    """What is regressed, and how words come in: the labels, of which the best ones mix their vectors (`conse`); the
    mean vector of an image's labels, compared by its cosine (`devise`); both, added up (`conse_devise`); the labels,
    each of which lends its score to words near its own (`kernel`); or labels and words, each with a ridge of its own
    (`eszsl`). null: chosen, of all but the last.
    """
    feature: Recipe[Literal["global", "region"]] = "global"
    """Map that is regressed from: the `global` feature, or the mean over the `region` map."""
    words: Recipe[Words | None] = None
    """Word vectors as they are (`plain`), less the mean of the seen ones (`centred`), or after that with the directions
    that seen ones have in common weighing less (`whitened`). null: chosen.
    """
    strength: Recipe[Strength | None] = None
    """Weight of the squared coefficients, above 0. null: chosen from 100, 1000, 10000 and 100000."""
    mixed_labels: Recipe[Positive | None] = None
    """Best labels of an image whose vectors are mixed, in forms `conse` and `conse_devise`. null: chosen from 5, 10, 20
    and 40.
    """
    kernel_width: Recipe[Width] = 0.1
    """How far a label's score reaches, in form `kernel`: it is lent in the share exp((cosine - 1) / width)."""
    choose_by: Recipe[Literal["held_out_labels", "seen_labels"] | None] = None
    """What settings that are null are chosen by, on at most 4,096 validation images: the mAP of seen labels that were
    hidden from the fit and are scored as if unseen (`held_out_labels`), or that of seen labels that were fitted to
    (`seen_labels`). null: held-out labels, which foretell unseen ones, where there are unseen labels.
    """
    held_out_folds: Recipe[Annotated[int, Field(ge=2, le=64)]] = 2
    """Folds that the seen labels are dealt into; each is hidden once. More of them take longer; on photographs eight
    chose no better than two.
    """

    def ways(self) -> list[Way]:
        """All that fit these settings, by strength; one where they leave nothing open."""
        return list(dict.fromkeys(self._ways()))

    def _ways(self) -> Iterator[Way]:
        for strength in STRENGTHS if self.strength is None else (self.strength,):
            for form in _TRIED if self.form is None else (self.form,):
                for words in _WORDS if self.words is None else (self.words,):
                    for mixed in _MIXED if self.mixed_labels is None else (self.mixed_labels,):
                        yield Way(form, words, strength, mixed if form in MIXING else None)

    def open_settings(self) -> dict[str, Any]:
        """Settings that are to be chosen, each with a value that mostly does well."""
        usual = {"form": "conse", "words": "whitened", "mixed_labels": 20, "strength": STRENGTHS[2]}
        read = usual.keys() - self.in_vain()
        return {key: value for key, value in usual.items() if key in read and getattr(self, key) is None}

    def in_vain(self) -> dict[str, str]:
        """Settings that the others leave unread: the reason by key."""
        found = {}
        if self.form not in (None, *MIXING):
            found["mixed_labels"] = f"which is of form {' or '.join(map(repr, MIXING))}, and this one is {self.form!r}"
        if self.form not in (None, "kernel"):
            found["kernel_width"] = f"which is of form 'kernel', and this one is {self.form!r}"
        if len(self.ways()) == 1:
            found |= dict.fromkeys(("choose_by", "held_out_folds"), "and no setting is left open (null)")
        elif self.choose_by == "seen_labels":
            found["held_out_folds"] = "and model.choose_by is 'seen_labels'"
        return found
