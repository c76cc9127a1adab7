"""One training step as the authors' released code takes it, for `train_step.py` to compare with.

Written anew from what is known of that code: the layers of preset `released`, features as [image, channel, region]
float32, attention by explicit products with a [image, head, region, region] tensor for each intermediate, response maps
of all labels sorted by top-k, and a ranking loss over [image, label, label] tensors. `train_step.py --check` shows that
it gives the losses of ours.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class ReleasedBiAM(nn.Module):
    """The layers of preset `released`, under the names that its files have.

    Args:
        sizes: channels of the region map, elements of the global feature, of a word vector, and the model's channels.
    """

    def __init__(self, sizes: tuple[int, int, int, int], heads: int = 8, top_k: int = 6, joint: int = 512) -> None:
        super().__init__()
        region, global_size, word, channels = sizes
        self.top_k = top_k
        self.conv_3X3 = _ConvNorm(region, channels)
        self.region_context_block = _RegionBlock(channels, heads)
        self.scene_context_block = _SceneBlock(channels, global_size)
        self.conv_1X1 = _Pointwise(2 * channels, joint)
        self.W = nn.Linear(word, joint)

    def forward(self, features: Tensor, global_feature: Tensor, vectors: Tensor) -> Tensor:
        """Scores [image, label] from features [image, channel, region]."""
        side = int(features.shape[2] ** 0.5)
        source = self.conv_3X3(features.view(*features.shape[:2], side, side))
        both = [self.region_context_block(source), self.scene_context_block(source, global_feature)]
        fused = self.conv_1X1(torch.cat(both, dim=1))
        regions = fused.flatten(2).permute(0, 2, 1)
        responses = torch.matmul(regions, self.W(vectors).t()).permute(0, 2, 1)
        return responses.topk(self.top_k, dim=2)[0].mean(dim=2)


class _ConvNorm(nn.Module):
    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.body = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.bn = nn.BatchNorm2d(channels_out, eps=1e-3, momentum=0.99)

    def forward(self, regions: Tensor) -> Tensor:
        return self.bn(functional.relu(self.body(regions)))


class _Pointwise(nn.Module):
    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.body = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, regions: Tensor) -> Tensor:
        return functional.leaky_relu(self.body(regions), 0.2)


class _RegionBlock(nn.Module):
    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.w_q, self.w_k, self.w_v, self.w_o = (nn.Conv2d(channels, channels, 1) for _ in range(4))
        self.sub_network = nn.ModuleDict(
            {"conv1": nn.Conv2d(channels, 2 * channels, 1), "conv2": nn.Conv2d(2 * channels, channels, 1)}
        )
        self.attention_dropout, self.output_dropout = nn.Dropout(0.1), nn.Dropout(0.1)

    def forward(self, source: Tensor) -> Tensor:
        images, channels, height, width = source.shape
        query, key, value = (
            layer(source).view(images, self.heads, channels // self.heads, height * width).transpose(2, 3)
            for layer in (self.w_q, self.w_k, self.w_v)
        )
        relation = torch.matmul(query / (channels // self.heads) ** 0.5, key.transpose(2, 3))
        relation = self.attention_dropout(functional.softmax(relation, dim=-1))
        attended = torch.matmul(relation, value).transpose(2, 3).contiguous().view(images, channels, height, width)
        context = source + self.output_dropout(self.w_o(attended))
        return context + self.sub_network["conv2"](functional.relu(self.sub_network["conv1"](context)))


class _SceneBlock(nn.Module):
    def __init__(self, channels: int, global_size: int) -> None:
        super().__init__()
        self.w_g = nn.Conv2d(global_size, channels, 1)
        self.channel_conv = _Pointwise(channels, channels)
        self.gcff = _ConvNorm(channels, channels)
        self.dropout = nn.Dropout(0.2)

    def forward(self, source: Tensor, global_feature: Tensor) -> Tensor:
        key = self.w_g(self.dropout(global_feature)[:, :, None, None])
        value = self.channel_conv(source)
        weighted = value * torch.sigmoid(functional.adaptive_avg_pool2d(value, 1) * key)
        return weighted + self.gcff(weighted)


def released_loss(scores: Tensor, codes: Tensor) -> Tensor:
    """The ranking loss over every pair of columns that anybody looked at."""
    used = codes.abs().sum(dim=0) > 0
    scores, codes = scores[:, used], codes[:, used].to(scores.dtype)
    positive, negative = codes.clamp(0, 1), (-codes).clamp(0, 1)
    pairs = negative.unsqueeze(2) * positive.unsqueeze(1)
    hinges = 1 + (scores * negative).unsqueeze(2) - (scores * positive).unsqueeze(1)
    violations = (hinges * pairs).clamp(min=0)
    counts = torch.sign(violations).sum(dim=(1, 2))
    return (violations.sum(dim=(1, 2)) / (counts + 1e-8)).mean()
