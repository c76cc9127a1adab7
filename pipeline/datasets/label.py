"""What a data set says about one label."""

from dataclasses import dataclass

from schemas.status import LabelRole


@dataclass(frozen=True)
class Label:
    """One label of a label space.

    Attributes:
        label_id: the key; unique, while names need not be.
        name: the words that people read and that word vectors are looked up for.
        role: whether training may see the label's annotations.
    """

    label_id: str
    name: str
    role: LabelRole
