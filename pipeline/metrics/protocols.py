"""A protocol's figures beside what gives them a meaning: chance, one ranking for all images, and permuted labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64

from pipeline.metrics import PROTOCOLS
from pipeline.metrics.bootstrap import Resampling
from pipeline.metrics.computing import Computing
from pipeline.metrics.contract import EvaluationProtocol
from pipeline.metrics.measurement import Counts, Measurement, flaw, mean_figures
from pipeline.metrics.ranking import Ranking, candidates, counted_labels
from pipeline.metrics.score_table import ScoreTable
from pipeline.metrics.topk import Hits, random_hits, resampled_hits, table_hits
from schemas.command import Command
from schemas.errors import PipelineError
from schemas.figures import SectionName


@dataclass(frozen=True)
class Baselines:
    """How the baselines are drawn.

    Attributes:
        draws: random score matrices, and permutations of the labels.
        seed: the same seed gives the same figures on every machine.
    """

    draws: int = 20
    seed: int = 0

    def generators(self) -> list[np.random.Generator]:
        """Random numbers of each draw."""
        return [np.random.default_rng([self.seed, draw]) for draw in range(self.draws)]


@dataclass(frozen=True)
class Evaluation:
    """The figures of one score matrix beside their baselines: a section of metrics.json (`zsl`, `gzsl` or `standard`).

    Attributes:
        measured: the model's figures.
        headline: name of the figure that stands first.
        labels: columns that are in means over labels.
        labels_without_positive: those of them that no image bears.
        labels_left_out: columns that are in no mean over labels.
        chance: the same figures for random scores.
        chance_per_label: AP of each label for random scores; NaN where the protocol gives it none.
        constant: the same figures where each image gets the mean over images of the scores.
        permuted: the same figures with the labels' scores exchanged; all None where there is only one label.
        standardised: the same figures with each image's scores on one scale (`ScoreTable.standardised`), where they
            were measured.
    """

    measured: Measurement
    headline: str
    labels: int
    labels_without_positive: int
    labels_left_out: int
    chance: Mapping[str, float]
    chance_per_label: Float[np.ndarray, " label"] = field(compare=False, repr=False)
    constant: Mapping[str, float]
    permuted: Mapping[str, float | None]
    standardised: Mapping[str, float] | None = None

    def as_json(self) -> dict[str, Any]:
        """As metrics.json holds it."""
        controls = {"chance": dict(self.chance), "constant": dict(self.constant), "permuted": dict(self.permuted)}
        said = {"labels_without_positive": self.labels_without_positive, "headline": self.headline}
        left_out = {"labels_left_out": self.labels_left_out} if self.labels_left_out else {}
        scaled = {} if self.standardised is None else {"standardised": dict(self.standardised)}
        return {**self.measured.figures, "labels": self.labels, **left_out, **said, **controls, **scaled}


def evaluate(
    protocol: str,
    section: SectionName,
    table: ScoreTable,
    ks: Sequence[int],
    baselines: Baselines,
    computing: Computing | None = None,
) -> Evaluation:
    """The figures of a score matrix, with chance and both controls.

    `constant` is what the best labels over all images come to, whatever an image shows: F1@K in particular can be high
    for one ranking of all images alike. `permuted` is the mean over random exchanges in which every label gets another
    one's scores: the same as exchanging the labels' word vectors, since a score depends on its own label's vector only.
    Scores that carry no more than how frequent labels are keep their mAP; a transfer by meaning loses it.

    Args:
        section: whose figures these are; a protocol may count sections differently.
        ks: how many best labels of each image are looked at; none asks for the mAP only.

    Raises:
        UsageError: no such protocol.
        PipelineError: no image or no label.
    """
    computing = computing or Computing()
    judge = _judge(protocol, section, table, ks)
    exchanged = [judge.exchange(draw) for draw in baselines.generators() if len(judge.candidates) > 1]
    own, *permuted = judge.measured(np.array([np.arange(table.num_labels), *exchanged]), computing)
    random = judge.ranking.random_average_precisions(baselines.generators(), computing)
    return Evaluation(
        measured=own,
        headline=judge.protocol.HEADLINE,
        labels=int(np.count_nonzero(judge.counted)),
        labels_without_positive=int(np.count_nonzero(judge.counted & (table.positives_by_label == 0))),
        labels_left_out=int(np.count_nonzero(~judge.counted)),
        chance=judge.chance(random, baselines, computing),
        chance_per_label=random.mean(axis=0),
        constant=measure(protocol, section, table.constant(), ks, computing).figures,
        permuted=mean_figures(permuted) if permuted else dict.fromkeys(own.figures),
    )


def measure(
    protocol: str, section: SectionName, table: ScoreTable, ks: Sequence[int], computing: Computing | None = None
) -> Measurement:
    """The figures of a score matrix alone, as `evaluate` gives them.

    Raises:
        UsageError: no such protocol.
        PipelineError: no image or no label.
    """
    computing = computing or Computing()
    judge = _judge(protocol, section, table, ks)
    (measured,) = judge.measured(np.arange(table.num_labels)[None], computing)
    return measured


def replicates(
    protocol: str,
    section: SectionName,
    table: ScoreTable,
    ks: Sequence[int],
    resampling: Resampling,
    computing: Computing | None = None,
) -> dict[str, Float32[np.ndarray, " replicate"]]:
    """The figures of a score matrix over images drawn anew, by name: what the luck of the images makes of each.

    A protocol that cannot rank such images (`ranking.Resampled`) gives its figures of the best K labels alone.

    Raises:
        UsageError: no such protocol.
        PipelineError: no image or no label.
    """
    return _judge(protocol, section, table, ks).resampled(resampling, computing or Computing())


def _judge(protocol: str, section: SectionName, table: ScoreTable, ks: Sequence[int]) -> "_Judge":
    module = PROTOCOLS.load(protocol)
    if not table.codes.size:
        raise PipelineError(
            f"nothing to evaluate: {table.num_images} images x {table.num_labels} labels;",
            expected="at least one of each",
            hint="With a larger split.test_fraction or more labels, run:",
            run=Command("split"),
        )
    return _Judge(protocol, table, module, module.ranking(table, section), tuple(ks))


@dataclass(frozen=True)
class _Judge:
    """One table under one protocol."""

    name: str
    table: ScoreTable
    protocol: EvaluationProtocol
    ranking: Ranking
    ks: tuple[int, ...]

    @cached_property
    def candidates(self) -> Int64[np.ndarray, " candidate"]:
        """The labels among which the best of each image are sought."""
        return candidates(self.ranking, self.table.num_labels)

    @cached_property
    def counted(self) -> Bool[np.ndarray, " label"]:
        """The labels that are in means over labels."""
        return counted_labels(self.ranking, self.table.num_labels)

    def exchange(self, generator: np.random.Generator) -> Int64[np.ndarray, " label"]:
        """An order in which every candidate gets the scores of another one."""
        order = np.arange(self.table.num_labels)
        order[self.candidates] = self.candidates[derangement(len(self.candidates), generator)]
        return order

    def measured(self, orders: Int64[np.ndarray, "order label"], computing: Computing) -> list[Measurement]:
        """The figures under each order, in which each label has the scores of the label that the order names."""
        hits: list[Hits | None] = [None] * len(orders)
        if self.ks:
            images, most = self.ranking.counted_images, max(self.ks)
            hits = list(table_hits(self.table, most, images, self.candidates, orders, computing))
        per_label = self.ranking.average_precisions(orders, computing)
        positives = self.table.positives_by_label
        return [self.measurement(*found, positives) for found in zip(per_label, hits, strict=True)]

    def resampled(self, resampling: Resampling, computing: Computing) -> dict[str, Float32[np.ndarray, " replicate"]]:
        """The figures in each replicate of the images."""
        if not resampling.replicates:
            return {}
        hits: list[Hits | None] = [None] * resampling.replicates
        if self.ks:
            images, most = self.ranking.counted_images, max(self.ks)
            hits = list(resampled_hits(self.table, most, images, self.candidates, resampling, computing))
        ranked = getattr(self.ranking, "resampled_average_precisions", None)
        unknown = np.full((resampling.replicates, self.table.num_labels), np.nan)
        per_label = unknown if ranked is None else ranked(resampling, computing)
        found = zip(per_label, hits, resampling.positives(self.table.codes), strict=True)
        made = [self.measurement(*replicate).figures for replicate in found]
        names = [name for name in made[0] if ranked is not None or "@" in name]
        return {name: np.array([figures[name] for figures in made], dtype=np.float32) for name in names}

    def measurement(
        self, per_label: Float[np.ndarray, " label"], hits: Hits | None, positives: Int64[np.ndarray, " label"]
    ) -> Measurement:
        made = self.protocol.figures(Counts(per_label, positives, hits, self.ks, self.counted))
        figures = {name: float(value) for name, value in made.items()}
        if (problem := flaw(figures, self.protocol.HEADLINE, self.ks)) is not None:
            raise PROTOCOLS.refusal(self.name, f"it {problem}")
        return Measurement(figures, per_label)

    def chance(
        self, per_label: Float[np.ndarray, "draw label"], baselines: Baselines, computing: Computing
    ) -> dict[str, float]:
        """Mean of each figure over random score matrices, of whose labels the AP is given.

        What a figure sees of a matrix is drawn, not the matrix: rankings by label from one stream of random numbers,
        the best labels of each image from another. Each figure is distributed as over whole matrices; that figures of
        one draw would share a matrix leaves no trace in their means.
        """
        positives = self.table.positives_by_image
        if self.ranking.counted_images is not None:
            positives = positives[self.ranking.counted_images]

        def drawn(number: int) -> Hits | None:
            if not self.ks:
                return None
            generator = np.random.default_rng([baselines.seed, number, 1])
            return random_hits(positives, len(self.candidates), self.ks, generator)

        hits = computing.each(drawn, range(baselines.draws))
        of_labels = self.table.positives_by_label
        return mean_figures([self.measurement(*draw, of_labels) for draw in zip(per_label, hits, strict=True)])


def derangement(size: int, generator: np.random.Generator) -> Int64[np.ndarray, " size"]:
    """A permutation that leaves nothing in its place, all of them equally likely; `size` is at least 2.

    One in e permutations is one, so about three are drawn.
    """
    places = np.arange(size)
    while np.any((order := generator.permutation(size)) == places):
        pass
    return order
