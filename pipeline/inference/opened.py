"""What the training of a run left, opened: its model ready to score, and the images of a split."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from pipeline.batches.label_space import LabelSpace, read_label_space
from pipeline.batches.selection import Selection, select
from pipeline.batches.shards import FeatureShards, open_features
from pipeline.files.inputs import Inputs
from pipeline.inference.model_file import SavedModel, trained_model
from pipeline.inference.scoring import Scorer
from schemas.command import Command
from schemas.errors import PipelineError
from schemas.status import ImageSplit


@dataclass(frozen=True)
class OpenedRun:
    """A run's model and images for it.

    Attributes:
        space: labels, in the order of the columns of scores and codes.
        saved: the model and how it was built.
        scorer: the model on its device.
        images: of the split, with what is known of them.
        validation: images of the validation split, with what is known of them; may be none.
        unlabelled: images of the whole data set that nobody labelled.
    """

    space: LabelSpace
    saved: SavedModel
    scorer: Scorer
    images: Selection
    validation: Selection
    unlabelled: int

    @property
    def features(self) -> FeatureShards:
        """Where the maps come from, read for those that the model takes."""
        return self.scorer.features


def open_run(
    inputs: Inputs, split: ImageSplit, device: torch.device, batch_images: int, check: Callable[[int, int], None]
) -> OpenedRun:
    """The model of a run, ready for the images of a split.

    Args:
        inputs: what the stages up to `train` left.
        split: whose images are to be scored.
        device: what scores.
        batch_images: images of a batch at most.
        check: called between batches with the images done so far, and of how many; raises to stop.

    Raises:
        PipelineError: no image, or a model that does not fit the features.
        IntegrityError: a shard or the model file is damaged.
    """
    space, saved = read_label_space(inputs), trained_model(inputs)
    features = open_features(inputs).reading(saved.needs)
    selections = select(features, space, list(dict.fromkeys([split, ImageSplit.VALIDATION])))
    images = selections[split]
    if len(images) == 0:
        raise PipelineError(
            f"evaluate: no {split} images",
            found=f"0 of {images.expected} in the split; failed {dict(images.failed)}",
            expected="at least 1",
            run=Command("evaluate", dataset=inputs.dataset, sets={"split.test_fraction": 0.2}),
        )
    saved.require(inputs, features.maps, (len(space), space.vectors.shape[1]))
    model = saved.model.to(device).to(memory_format=torch.channels_last)
    vectors = torch.from_numpy(space.vectors).to(device)
    scorer = Scorer(model, vectors, features, batch_images, lambda done: check(done, len(images)))
    return OpenedRun(space, saved, scorer, images, selections[ImageSplit.VALIDATION], selections.unlabelled)
