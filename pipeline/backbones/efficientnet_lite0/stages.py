"""The sizes of EfficientNet-Lite0, which are those of EfficientNet-B0. Needs no torch.

Source: Tan and Le, "EfficientNet" (ICML 2019), table 1.
"""

from dataclasses import dataclass

STEM_CHANNELS, STEM_STRIDE = 32, 2  # stage 1
HEAD_CHANNELS = 1280  # stage 9
CLASSES = 1000


@dataclass(frozen=True)
class StageSizes:
    """Blocks one after the other.

    Attributes:
        stride: of the first block.
        widening: how many times as many channels a block has inside as come in.
        channels: that come out of each block.
    """

    blocks: int
    kernel: int
    stride: int
    widening: int
    channels: int


# By the numbers of the table. Its strides stand a row late there: what a row says of resolution is what comes in.
STAGES = {
    2: StageSizes(blocks=1, kernel=3, stride=1, widening=1, channels=16),
    3: StageSizes(blocks=2, kernel=3, stride=2, widening=6, channels=24),
    4: StageSizes(blocks=2, kernel=5, stride=2, widening=6, channels=40),
    5: StageSizes(blocks=3, kernel=3, stride=2, widening=6, channels=80),
    6: StageSizes(blocks=3, kernel=5, stride=1, widening=6, channels=112),
    7: StageSizes(blocks=4, kernel=5, stride=2, widening=6, channels=192),
    8: StageSizes(blocks=1, kernel=3, stride=1, widening=6, channels=320),
}
