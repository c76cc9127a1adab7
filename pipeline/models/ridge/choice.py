"""The ridge regression fitted: what its settings leave open is chosen first, by the validation images."""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, Float64, Int8, Int64
from torch import Tensor

from pipeline.models.fitting import Fitted, Fitting, fold_of_labels
from pipeline.models.ridge.moments import Moments, Sums, sums
from pipeline.models.ridge.network import Scoring, pooled
from pipeline.models.ridge.settings import FORMS, MIXING, RidgeConfig, Way
from pipeline.models.ridge.solution import Solver, joined
from schemas.command import Command
from schemas.errors import UsageError

_MOST_IMAGES = 4096  # that are looked at to choose by
_NO_FOLD = -1


@dataclass(frozen=True)
class _Sample:
    """Images that are looked at: all validation images, or one in so many that they are not too many."""

    features: Float64[Tensor, "image feature"]
    codes: Int8[Tensor, "image label"]
    mean_ap: Callable[[Tensor, Tensor], float] | None


class UndecidedError(UsageError):
    """Settings are left open, and there is nothing to choose them by.

    Args:
        why: a clause.
        told: as of every error.
    """

    def __init__(self, what: str, *, why: str = "", **told: Any) -> None:
        super().__init__(what, **told)
        self.why = why


def fit(settings: RidgeConfig, fitting: Fitting) -> Fitted:
    """The buffers of the network, and how they were found.

    Raises:
        UndecidedError: settings are left open, and there is nothing to choose them by.
    """
    ways, words = settings.ways(), fitting.words.double()
    if len(ways) > 1 and fitting.validation is None:
        raise _nothing_to_choose_by(settings, "there are no validation images")
    chosen_by = settings.choose_by or ("held_out_labels" if fitting.zero_shot else "seen_labels")
    hides = len(ways) > 1 and chosen_by == "held_out_labels"
    folds = _folds(settings, words) if hides else torch.full((len(words),), _NO_FOLD, device=words.device)
    counted = sums(
        fitting.train(),
        folds,
        with_labels=any(way.form != "devise" for way in ways),
        with_shares=any(way.form in ("devise", "conse_devise") for way in ways),
    )
    way, facts, sample = ways[0], dict[str, Any](), None
    if len(ways) > 1 or way.form == "conse_devise":
        sample = _sample(fitting, counted.moments().images)
    if sample is not None and len(ways) > 1:
        worth = _worth(settings, counted, words, folds, sample)
        way = ways[max(range(len(ways)), key=worth.__getitem__)]
        facts = {"chosen_by": chosen_by} | _told(settings, worth, folds, len(sample.codes))
    buffers = _buffers(settings, counted.moments(), words, way, sample)
    return Fitted(buffers, {"images": counted.moments().images, **_said(way), **facts})


def _buffers(
    settings: RidgeConfig, found: Moments, words: Float64[Tensor, "label word"], way: Way, sample: _Sample | None
) -> dict[str, Tensor]:
    """Those of the network, for one way.

    Args:
        sample: read in ways that add something up.
    """
    solver = Solver(found, words, torch.arange(len(words), device=words.device), [way])
    solved = solver.solutions(way.strength)
    solution = joined([solved[target] for target in way.targets])
    space, seen, deviations = solver.spaces[way.words], solver.placed(way), torch.ones(2)
    if way.form == "conse_devise":
        assert sample is not None, "this way adds up"
        regressed = solution.regressed(solver.standardised(sample.features))
        deviations = _scoring(settings, way, regressed, seen.float()).deviations
    buffers = {
        "mean": found.mean,
        "deviation": found.deviation,
        "weights": solution.weights,
        "offset": solution.offset,
        "seen_words": seen if way.form in (*MIXING, "kernel") else seen[:0],
        "deviations": deviations,
        "word_centre": space.centre,
        "word_axes": space.axes,
    }
    numbers = {"form_number": FORMS.index(way.form), "mixed_labels": way.mixed_labels or 0}
    return {
        **{name: value.float() for name, value in buffers.items()},
        **{name: torch.tensor(value) for name, value in numbers.items()},
    }


def _folds(settings: RidgeConfig, words: Tensor) -> Int64[Tensor, "label"]:
    """The fold of each label.

    Raises:
        UndecidedError: there are more folds than labels.
    """
    if len(words) < settings.held_out_folds:
        why = "there is 1 seen label" if len(words) == 1 else f"there are {len(words)} seen labels"
        raise UndecidedError(
            "setting model.held_out_folds:",
            why=why,
            got=f"{settings.held_out_folds}, and {why}",
            expected="a label in each fold at least",
            hint="Choose by seen labels:",
            run=Command(sets={"model.choose_by": "seen_labels"}),
        )
    return torch.tensor(fold_of_labels(len(words), settings.held_out_folds), device=words.device)


def _nothing_to_choose_by(settings: RidgeConfig, why: str) -> UndecidedError:
    usual = {f"model.{key}": value for key, value in settings.open_settings().items()}
    return UndecidedError(
        f"setting {', '.join(usual)}: got null, and {why} to choose by",
        why=why,
        expected="one value each",
        hint="Use:",
        run=Command(sets=usual),
    )


def _sample(fitting: Fitting, train_images: int) -> _Sample:
    """Of the validation images, or where there are none of the training images."""
    validation = fitting.validation
    batches = fitting.train() if validation is None else validation.passed()
    step = math.ceil((train_images if validation is None else validation.images) / _MOST_IMAGES)
    features, codes, done = [], [], 0
    for (values,), known in batches:
        rows = torch.arange(-done % step, len(known), step, device=known.device)
        features.append(pooled(values[rows]).double())
        codes.append(known[rows])
        done += len(known)
    return _Sample(torch.cat(features), torch.cat(codes), None if validation is None else validation.mean_ap)


def _worth(
    settings: RidgeConfig,
    counted: Sums,
    words: Float64[Tensor, "label word"],
    folds: Int64[Tensor, "label"],
    sample: _Sample,
) -> list[float]:
    """What each way is worth: the mAP of hidden labels, as a mean over folds, or that of seen ones.

    Raises:
        UndecidedError: no image tells.
    """
    assert sample.mean_ap is not None, "of validation images"
    every = torch.arange(len(words), device=words.device)
    by_fold = []
    for fold in folds.unique().tolist():
        hides = fold != _NO_FOLD
        kept, scored = (every[folds != fold], every[folds == fold]) if hides else (every, every)
        left = counted.moments(fold if hides else None)
        if not left.images:
            raise _nothing_to_choose_by(settings, "no training image bears labels of two folds")
        solver = Solver(left, words[kept], kept, settings.ways())
        scores = _scores(settings, solver, words[scored], sample)
        by_fold.append([sample.mean_ap(each, sample.codes[:, scored]) for each in scores])
    worth: list[float] = torch.tensor(by_fold, dtype=torch.float64).nanmean(dim=0).tolist()
    if any(map(math.isnan, worth)):
        raise _nothing_to_choose_by(settings, "no validation image bears a seen label")
    return worth


def _scores(
    settings: RidgeConfig, solver: Solver, words: Float64[Tensor, "label word"], sample: _Sample
) -> Iterator[Float[Tensor, "image label"]]:
    """Scores of words by each way. Ways come by strength: what those of one share is computed once."""
    standardised = solver.standardised(sample.features)
    strength, of_target = None, {}
    for way in settings.ways():
        if way.strength != strength:
            strength, solutions = way.strength, solver.solutions(way.strength)
            of_target = {target: solution.regressed(standardised) for target, solution in solutions.items()}
        regressed = torch.cat([of_target[target] for target in way.targets], dim=1)
        seen, placed = solver.placed(way).float(), solver.spaces[way.words].placed(words).float()
        yield _scoring(settings, way, regressed, seen).scores(regressed, seen, placed)


def _scoring(settings: RidgeConfig, way: Way, regressed: Tensor, seen: Tensor) -> Scoring:
    """How a way scores; what it adds up by its deviation over these images and the labels that were fitted to."""
    scoring = Scoring(way.form, way.mixed_labels or 0, settings.kernel_width, torch.ones(2))
    if way.form != "conse_devise":
        return scoring
    parts = scoring.parts(regressed, seen, seen)
    deviations = torch.stack([part.std(correction=0) for part in parts])
    return Scoring(way.form, scoring.mixed_labels, settings.kernel_width, deviations.clamp(min=1e-12))


def _said(way: Way) -> dict[str, Any]:
    return {key: value for key, value in asdict(way).items() if value is not None}


def _told(settings: RidgeConfig, worth: list[float], folds: Tensor, images: int) -> dict[str, Any]:
    """How a choice was made, as JSON values."""
    hidden = [int((folds == fold).sum()) for fold in folds.unique().tolist() if fold != _NO_FOLD]
    return {
        "validation_images": images,
        **({"hidden_labels": hidden} if hidden else {}),
        "tried": [_said(way) | {"map": value} for way, value in zip(settings.ways(), worth, strict=True)],
    }
