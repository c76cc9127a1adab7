"""What the settings of all data sets have; a data set's own stand in its room, validated by the class it names."""

from typing import Annotated, Any, ClassVar, Literal, Self

from schemas.section import Content, Older, Recipe, Section
from schemas.values import Positive

Task = Literal["zero-shot", "standard"]


class DatasetSection(Section):
    """The data set. What else there is to set depends on its name."""

    split_by_content: ClassVar[bool] = False  # equal images share a split, as their bytes are hashed, not their ids
    own_protocol: ClassVar[str] = "nuswide"  # by which the data set is evaluated where the settings name none
    published: ClassVar[bool] = False  # its images lie where their publisher put them, not where a user's list says
    labels_here: ClassVar[bool] = False  # its labels are told by the settings, or by files of this machine
    released_name: ClassVar[str | None] = None  # how the authors of BiAM begin the names of its feature files

    name: Recipe[str]
    """Name of the data set; see `show datasets`."""
    shard_images: Content[Positive] = 1024
    """Images of a new shard. Images that are indexed already stay where they are."""
    task: Annotated[Content[Task], Older()] = "zero-shot"
    """What is learnt: with `zero-shot` training sees the seen labels alone and testing all, with `standard` all labels
    are seen ones, to train and to test on.
    """

    @property
    def unseen_fixed_by(self) -> str | None:
        """What fixes which labels are unseen, so that `split.unseen_seed` may draw none; None where nothing does."""
        return "dataset.task is 'standard', in which all labels are seen" if self.task == "standard" else None

    def at_most(self, images: int) -> Self | None:
        """These settings with about so many images at most; None where the data set has no `limit` of them.

        A limit counts for each of `splits`, where the data set has those.
        """
        if "limit" not in type(self).model_fields:
            return None
        values: dict[str, Any] = dict(self)
        share = max(1, images // max(1, len(values.get("splits", ()))))
        return self.model_copy(update={"limit": min(share, values["limit"] or share)})
