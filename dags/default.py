"""The pipeline: its stages, first stage first. A data set whose pipeline differs lists its own in its dag."""

from pipeline.engine.sources import Sources
from pipeline.engine.task import Stage
from pipeline.stages import download, embed, evaluate, extract, index, report, split, train, unseen
from schemas.config import Config


def stages(config: Config, sources: Sources) -> list[Stage]:
    """The stages of these settings.

    Args:
        sources: hashes of files from outside.

    Raises:
        UsageError: unseen labels are to be drawn where they are fixed.
    """
    if config.split.unseen_seed is not None:
        unseen.require_not_fixed(config)  # before files from outside are fetched and hashed
    others = (unseen,) if "unseen" in config.split.role_stages else ()
    described = (index, download, extract, split, *others, embed, train, evaluate, report)
    return [stage.stage(config, sources) for stage in described]
