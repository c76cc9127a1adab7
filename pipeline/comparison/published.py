"""Figures that papers print, by data set, protocol, task and row. They are no promise: see the remark of each.

Fractions, as metrics.json has them. Sources: Narayan, Gupta et al., "Discriminative Region-based Multi-Label Zero-Shot
Learning", ICCV 2021, its tables by number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schemas.figures import SectionName

_PAPER = "BiAM (ICCV 2021), table"
# In the order of the columns of the tables below.
_FIGURES = {
    "nuswide": ("map", "f1@3", "f1@5"),
    "openimages": ("map", "f1@10", "f1@20"),
    "openimages-biam": ("weighted_map", "f1@10", "f1@20"),
}
_OURS = "published with settings that are not known; those here are ours"


@dataclass(frozen=True)
class Published:
    """What a paper prints for one row and task.

    Attributes:
        figures: as fractions, by name.
        source: paper and table.
        remark: what makes a comparison with it loose; None where nothing is known to.
    """

    figures: Mapping[str, float]
    source: str
    remark: str | None = None


@dataclass(frozen=True)
class _Rows:
    """One table's rows of one task: percent, in the order of the protocol's figures."""

    table: str
    dataset: str
    protocol: str
    task: SectionName
    backbone: str
    rows: Mapping[str, str]
    remark: str | None = None


_ZERO_SHOT = ("CONSE", "LabelEM", "Fast0Tag", "Attention per Label", "Attention per Cluster")
_UNKNOWN = (*_ZERO_SHOT, "WARP", "WSABIE", "Logistic", "CNN-RNN")
_LESAS = "the row seems to be taken from another paper, which counts label by label"

_TABLES: Sequence[_Rows] = (
    _Rows(
        "1",
        "nuswide",
        "nuswide",
        "zsl",
        "vgg19",
        {
            "CONSE": "9.4 21.6 20.2",
            "LabelEM": "7.1 19.2 19.5",
            "Fast0Tag": "15.1 27.8 26.4",
            "Attention per Label": "10.4 25.8 23.6",
            "Attention per Cluster": "12.9 24.6 22.9",
            "LESA": "19.4 31.6 28.7",
            "BiAM": "26.3 33.1 30.7",
        },
    ),
    _Rows(
        "1",
        "nuswide",
        "nuswide",
        "gzsl",
        "vgg19",
        {
            "CONSE": "2.1 7.0 8.1",
            "LabelEM": "2.2 9.5 11.3",
            "Fast0Tag": "3.7 11.5 13.5",
            "Attention per Label": "3.7 10.9 13.2",
            "Attention per Cluster": "2.6 6.4 7.7",
            "LESA": "5.6 14.4 16.8",
            "BiAM": "9.3 16.1 19.0",
        },
    ),
    _Rows(
        "2",
        "openimages",
        "openimages",
        "zsl",
        "vgg19",
        {
            "CONSE": "40.4 0.4 0.3",
            "LabelEM": "40.5 0.5 0.4",
            "Fast0Tag": "41.2 0.7 0.6",
            "Attention per Cluster": "40.7 1.2 0.9",
            "LESA": "41.7 1.4 1.0",
        },
        _LESAS,
    ),
    _Rows(
        "2",
        "openimages",
        "openimages",
        "gzsl",
        "vgg19",
        {
            "CONSE": "43.5 2.6 2.4",
            "LabelEM": "45.2 5.2 5.1",
            "Fast0Tag": "45.2 16.0 12.9",
            "Attention per Cluster": "44.9 16.9 13.5",
            "LESA": "45.4 17.4 14.3",
        },
        _LESAS,
    ),
    _Rows("2", "openimages", "openimages-biam", "zsl", "vgg19", {"BiAM": "73.6 8.3 5.5"}),
    _Rows("2", "openimages", "openimages-biam", "gzsl", "vgg19", {"BiAM": "84.5 19.1 15.9"}),
    _Rows(
        "3",
        "nuswide",
        "nuswide",
        "zsl",
        "vgg19",
        {"standard features": "21.1 28.0 26.9", "RCB alone": "23.7 31.9 29.0", "SCB alone": "23.2 29.4 27.8"},
    ),
    _Rows(
        "3",
        "nuswide",
        "nuswide",
        "gzsl",
        "vgg19",
        {"standard features": "6.8 12.0 14.5", "RCB alone": "7.6 14.7 17.6", "SCB alone": "8.6 14.0 16.7"},
    ),
    _Rows(
        "4",
        "nuswide",
        "nuswide",
        "zsl",
        "vgg19",
        {
            "RCB with LayerNorm": "25.0",
            "RCB with sigmoid": "24.6",
            "SCB with softmax": "24.3",
            "Non-Local": "23.1",
            "Criss-Cross": "23.9",
        },
    ),
    _Rows(
        "6",
        "nuswide",
        "nuswide",
        "standard",
        "vgg19",
        {
            "WARP": "3.1 54.4 49.4",
            "WSABIE": "3.1 53.8 49.2",
            "Logistic": "21.6 51.1 46.1",
            "Fast0Tag": "22.4 53.8 48.6",
            "CNN-RNN": "28.3 55.2 50.8",
            "Attention per Label": "32.6 56.8 51.3",
            "Attention per Cluster": "31.7 56.6 50.7",
            "LESA": "31.5 58.0 52.0",
            "BiAM": "47.8 59.6 53.4",
        },
    ),
    _Rows(
        "7",
        "openimages",
        "openimages",
        "standard",
        "vgg19",
        {
            "WARP": "46.0 7.7 7.4",
            "WSABIE": "47.2 2.2 2.2",
            "CNN-RNN": "41.0 9.6 10.5",
            "Logistic": "49.4 13.3 11.8",
            "Fast0Tag": "45.4 16.2 13.1",
            "Attention per Cluster": "45.1 16.3 13.0",
            "LESA": "45.6 17.8 14.5",
        },
        _LESAS,
    ),
    _Rows("7", "openimages", "openimages-biam", "standard", "vgg19", {"BiAM": "85.0 20.4 17.3"}),
    _Rows("8", "nuswide", "nuswide", "zsl", "dino_resnet50", {"LESA": "20.5", "BiAM": "27.4"}),
    _Rows("8", "nuswide", "nuswide", "gzsl", "dino_resnet50", {"LESA": "6.4", "BiAM": "10.2"}),
    _Rows("8", "openimages", "openimages", "zsl", "dino_resnet50", {"LESA": "41.9"}, _LESAS),
    _Rows("8", "openimages", "openimages", "gzsl", "dino_resnet50", {"LESA": "45.5"}, _LESAS),
    _Rows("8", "openimages", "openimages-biam", "zsl", "dino_resnet50", {"BiAM": "74.0"}),
    _Rows("8", "openimages", "openimages-biam", "gzsl", "dino_resnet50", {"BiAM": "84.8"}),
)


def published(dataset: str, protocol: str, backbone: str, task: SectionName, row: str | None) -> Published | None:
    """What a paper prints for a row; None where it has none of this data set, protocol and task.

    Of another backbone than the one here it is given, too, with a remark.
    """
    found = [
        table
        for table in _TABLES
        if (table.dataset, table.protocol, table.task) == (dataset, protocol, task) and row in table.rows
    ]
    if row is None or not found:
        return None
    table = next((table for table in found if table.backbone == backbone), found[0])
    figures = zip(_FIGURES[protocol], map(float, table.rows[row].split()), strict=False)
    remarks = [_OURS] if row in _UNKNOWN else []
    remarks += [table.remark] if table.remark else []
    remarks += [f"published for features of {table.backbone}"] if table.backbone != backbone else []
    return Published(
        {name: percent / 100 for name, percent in figures}, f"{_PAPER} {table.table}", "; ".join(remarks) or None
    )


def warnings(dataset: str, tasks: Sequence[str]) -> list[str]:
    """What to say below published figures of a data set."""
    if dataset == "openimages":
        return [
            "The published column mixes two ways of counting: BiAM's rows are counted by the protocol openimages-biam, "
            "the others seem to be counted label by label; figures of both are not on one scale. The paper says of its "
            "table 2 that it is evaluated as SDL is."
        ]
    if dataset != "nuswide":
        return []
    if "standard" in tasks:
        return [
            "The published mAP of WARP and WSABIE stands next to chance, although their F1 does not: it is no figure "
            "to be reached."
        ]
    return [
        "The published rows from CONSE to Attention per Cluster are repetitions of those methods on settings that are "
        "not known: their order and rough size can be compared, their digits cannot."
    ]
