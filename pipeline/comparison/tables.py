"""The rows of the tables of BiAM (ICCV 2021) as models with settings, under the names that the paper gives them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.config import Variant
from schemas.errors import unknown_name

# By model, what the paper calls it.
TITLES = {
    "conse": "CONSE",
    "labelem": "LabelEM",
    "fast0tag": "Fast0Tag",
    "attention_per_label": "Attention per Label",
    "attention_per_cluster": "Attention per Cluster",
    "lesa": "LESA",
    "biam": "BiAM",
    "warp": "WARP",
    "wsabie": "WSABIE",
    "logistic": "Logistic",
    "cnn_rnn": "CNN-RNN",
}
_NO_REPRODUCTION = ("tuned", "demo")  # presets of ours


@dataclass(frozen=True)
class ReadyTable:
    """A table of the paper.

    Attributes:
        rows: its rows.
        sets: settings of the whole comparison, by section.
    """

    rows: Sequence[Variant]
    sets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def _models(*names: str) -> tuple[Variant, ...]:
    return tuple(Variant(name=TITLES[name], model=name) for name in names)


def _biam(name: str, **settings: Any) -> Variant:
    return Variant(name=name, model="biam", set={f"model.{key}": value for key, value in settings.items()})


_WHOLE = Variant(name="BiAM", model="biam")
_ATTENTIONS = ("attention_per_label", "attention_per_cluster")
_TABLES = {
    "1": ReadyTable(_models("conse", "labelem", "fast0tag", *_ATTENTIONS, "lesa", "biam")),
    "2": ReadyTable(_models("conse", "labelem", "fast0tag", "attention_per_cluster", "lesa", "biam")),
    "3": ReadyTable(
        (
            _biam("standard features", blocks=[]),
            _biam("RCB alone", blocks=["rcb"]),
            _biam("SCB alone", blocks=["scb"]),
            _WHOLE,
        )
    ),
    "4": ReadyTable(
        (
            _biam("RCB with LayerNorm", region_norm="layer"),
            _biam("RCB with sigmoid", region_weighting="sigmoid"),
            _biam("SCB with softmax", scene_weighting="softmax"),
            _biam("Non-Local", region_attention="non-local"),
            _biam("Criss-Cross", region_attention="criss-cross"),
            _WHOLE,
        )
    ),
    "6": ReadyTable(
        _models("warp", "wsabie", "logistic", "fast0tag", "cnn_rnn", *_ATTENTIONS, "lesa", "biam"),
        {"dataset": {"task": "standard"}},
    ),
    "7": ReadyTable(
        _models("warp", "wsabie", "cnn_rnn", "logistic", "fast0tag", "attention_per_cluster", "lesa", "biam"),
        {"dataset": {"task": "standard"}},
    ),
    "8": ReadyTable(_models("lesa", "biam"), {"backbone": {"name": "dino_resnet50"}}),
}
CLOSED_FORMS = tuple(
    Variant(name=f"ridge: {title}", model="ridge", preset=preset)
    for title, preset in (("chosen", "default"), ("DeViSE", "devise"), ("ConSE", "conse"), ("ESZSL", "eszsl"))
)


def ready_table(name: str) -> ReadyTable:
    """A table by its number in the paper.

    Raises:
        UsageError: there is no such table, or it has no rows of models.
    """
    if name not in _TABLES:
        raise unknown_name("table", name, _TABLES)
    return _TABLES[name]


def published_as(variant: Variant, preset: str) -> str | None:
    """The row of the paper's tables that a row here repeats; None where it repeats none, whatever it is called.

    Args:
        preset: that the row has.
    """
    if any(variant in table.rows for table in _TABLES.values()):
        return variant.title
    bare = not variant.set and variant.name is None and preset not in _NO_REPRODUCTION
    return TITLES.get(variant.model) if bare else None
