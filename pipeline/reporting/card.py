"""The card of a run: a page that tells whoever finds a model file what it is, was made of, and is worth."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.reporting.figures import History, Measure, Section
from schemas.features import FeatureSpec
from schemas.random_weights import is_random

_CONTROLS = (
    "In percent. Chance: random scores. Constant: one ranking for all images. Permuted: each label with the scores of "
    "another."
)
_LICENCE = (
    "That of images, backbone and word vectors holds for what is made of them; the card of the features says what is "
    "known."
)


@dataclass(frozen=True)
class Choice:
    """A setting of the model or of its training.

    Attributes:
        key: dotted.
        value: as text.
        source: who chose it.
    """

    key: str
    value: str
    source: str


@dataclass(frozen=True)
class RunCard:
    """What the page tells.

    Attributes:
        model: its name.
        preset: its name.
        about: what the model says of itself, paragraphs.
        dataset: name of the data set.
        protocol: of the figures.
        sections: figures beside chance and controls, by key of metrics.json.
        spec: of the features.
        features: their folder, below the data set's.
        vectors: of words, as the settings name them.
        vectors_sha256: of their file; None where nobody knows.
        training: what it wrote down.
        images: that took part, by split.
        warnings: what the figures suffer from.
        choices: settings.
        recipe: of the evaluation.
        versions: of libraries.
    """

    model: str
    preset: str
    about: Sequence[str]
    dataset: str
    protocol: str
    sections: Mapping[str, Section]
    spec: FeatureSpec
    features: str
    vectors: str
    vectors_sha256: str | None
    training: History
    images: Mapping[str, int]
    warnings: Sequence[str]
    choices: Sequence[Choice]
    recipe: str
    versions: Mapping[str, str]

    @property
    def random_weights(self) -> bool:
        """Whether the backbone was never trained."""
        return is_random(self.spec.weights)


def card(run: RunCard) -> str:
    """The page, in Markdown with the head that Hugging Face reads."""
    return "\n".join([*_head(run), "", *_body(run), ""])


def _head(run: RunCard) -> Iterator[str]:
    """YAML; texts stand in it as JSON, which YAML reads."""
    yield "---"
    yield "library_name: biam-pipe"
    yield "license: other"
    yield f"tags: {json.dumps(['multi-label-image-classification', 'zero-shot', 'biam-pipe', run.model])}"
    yield f"datasets: {json.dumps([run.dataset])}"
    yield "model-index:"
    yield f"- name: {json.dumps(f'{run.model}-{run.preset}')}"
    yield "  results:"
    for key, section in run.sections.items():
        yield f"  - task: {{type: image-classification, name: {json.dumps(section.title)}}}"
        yield f"    dataset: {{type: {json.dumps(run.dataset)}, name: {json.dumps(run.dataset)}, split: test}}"
        yield "    metrics:"
        for measure in section.measures:
            if measure.value is not None:
                name = json.dumps(f"{measure.name} ({key}, {run.protocol})")
                yield f"    - {{type: {json.dumps(measure.name)}, name: {name}, value: {measure.value:.6f}}}"
    yield "---"


def _body(run: RunCard) -> Iterator[str]:
    yield f"# {run.model} ({run.preset}) on {run.dataset}"
    for paragraph in run.about:
        yield from ("", paragraph)
    if run.random_weights:
        yield from (
            "",
            f"**Random weights** ({run.spec.weights}): the backbone was never trained. The figures say nothing of it.",
        )
    for warning in run.warnings:
        yield from ("", f"**Warning:** {warning}.")
    yield from ("", "## Figures")
    for section in run.sections.values():
        yield from ("", f"{section.title}: {section.note}; {section.labels} labels.", "", *_figures(section))
        for remark in section.remarks:
            yield from ("", f"{remark}.")
    yield from ("", _CONTROLS)
    yield from ("", "## Choices", "", "| setting | value | from |", "|---|---|---|")
    yield from (f"| {choice.key} | {choice.value} | {choice.source} |" for choice in run.choices)
    yield from ("", "## Made of", "", *_made_of(run))
    yield from ("", "## Limits", "", *_limits(run))
    yield from ("", "## Licence", "", _LICENCE)


def _figures(section: Section) -> Iterator[str]:
    yield "| figure | value | chance | constant | permuted |"
    yield "|---|---|---|---|---|"
    headline = section.headline.name
    for measure in sorted(section.measures, key=lambda measure: measure.name != headline):
        yield f"| {_name(measure, headline)} | " + " | ".join(map(_percent, _values(measure))) + " |"


def _name(measure: Measure, headline: str) -> str:
    return f"**{measure.name}**" if measure.name == headline else measure.name


def _values(measure: Measure) -> tuple[float | None, ...]:
    return measure.value, measure.chance, measure.constant, measure.permuted


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _made_of(run: RunCard) -> Iterator[str]:
    spec = run.spec
    yield f"- Features: `{run.features}`, {spec.backbone} with the weights {spec.weights}, sha256 {spec.weights_sha256}"
    yield f"- Recipe of the features: {spec.recipe}"
    if run.training.began_with is not None:
        yield f"- Training started from the weights of {run.training.began_with}"
    if run.training.given is not None:
        yield f"- Weights of the model: {run.training.given}, sha256 {run.training.given_sha256 or 'unknown'}"
    yield f"- Word vectors: {run.vectors}, sha256 {run.vectors_sha256 or 'unknown'}"
    images = ", ".join(f"{number:,} {split}" for split, number in run.images.items())
    yield f"- Images: {images}"
    yield f"- Recipe of the figures: {run.recipe}"
    yield "- Made with: " + ", ".join(f"{name} {version}" for name, version in run.versions.items())


def _limits(run: RunCard) -> Iterator[str]:
    yield "- Scores compare within an image. They are no probabilities."
    yield f"- The figures are those of protocol `{run.protocol}`; others give other numbers."
    if run.training.given is None:
        yield "- What was chosen while training was chosen on validation images and seen labels."
    else:
        yield "- Nothing was trained here. On which images and labels the weights were trained and chosen is not known."
