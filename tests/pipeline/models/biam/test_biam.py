import numpy as np
import pytest
import torch
from torch import nn

from pipeline.models import MODELS
from pipeline.models.biam.network import BiAM, build
from pipeline.models.biam.settings import BiamConfig
from pipeline.models.shared.ranking import ranking_loss
from pipeline.models.sizes import FeatureSizes
from schemas.errors import UsageError

SIZES = FeatureSizes({"region": 6, "global": 10}, 5)
IMAGES, HEIGHT, WIDTH, LABELS = 2, 3, 4, 7


pytestmark = pytest.mark.usefixtures("one_thread")


def small_config(**changes):
    values = {"channels": 8, "heads": 2, "joint_size": 9, "top_k": 3, "attention_dropout": 0.5, "global_dropout": 0.5}
    return BiamConfig(**{**values, **changes})


def small_model(preset, **changes):
    """A model in evaluation mode whose running statistics are not the trivial ones."""
    torch.manual_seed(0)
    model = build(small_config(preset=preset, **changes), SIZES).double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 2.0)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return model


def inputs(dtype=torch.float64, seed=1):
    generator = torch.Generator().manual_seed(seed)
    shapes = (IMAGES, HEIGHT, WIDTH, 6), (IMAGES, 10), (LABELS, 5)
    return tuple(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes)


class Reference:
    """BiAM for one image, from the equations, region by region. Maps are [height, width, channel]."""

    def __init__(self, model, preset, heads, top_k):
        self.weights = {key: value.detach().numpy() for key, value in model.state_dict().items()}
        self.released, self.heads, self.top_k = preset == "released", heads, top_k

    def linear(self, name, vector):
        weight = self.weights[f"{name}.weight"]
        return weight.reshape(len(weight), -1) @ vector + self.weights.get(f"{name}.bias", 0)

    def pointwise(self, name, regions):
        return np.stack([[self.linear(name, vector) for vector in row] for row in regions])

    def conv_relu_norm(self, name, regions):
        padded = np.pad(regions, ((1, 1), (1, 1), (0, 0)))
        result = np.empty((*regions.shape[:2], len(self.weights[f"{name}.conv.bias"])))
        for y, x in np.ndindex(*regions.shape[:2]):
            window = padded[y : y + 3, x : x + 3]  # height, width, channel
            result[y, x] = np.einsum("yxc,ocyx->o", window, self.weights[f"{name}.conv.weight"])
        result = np.maximum(result + self.weights[f"{name}.conv.bias"], 0)
        eps = 1e-3 if self.released else 1e-5
        scale = self.weights[f"{name}.norm.weight"] / np.sqrt(self.weights[f"{name}.norm.running_var"] + eps)
        return (result - self.weights[f"{name}.norm.running_mean"]) * scale + self.weights[f"{name}.norm.bias"]

    def region_context(self, source):
        query, key, value = (
            self.pointwise(f"region_context.{name}", source).reshape(-1, source.shape[2])
            for name in ("query", "key", "value")
        )
        size = source.shape[2] // self.heads
        attended = []
        for head in range(self.heads):
            own = slice(head * size, (head + 1) * size)
            relation = np.exp(query[:, own] @ key[:, own].T / np.sqrt(size))
            attended.append(relation / relation.sum(axis=1, keepdims=True) @ value[:, own])
        joined = np.concatenate(attended, axis=1).reshape(source.shape)
        context = source + self.pointwise("region_context.output", joined)
        hidden = np.maximum(self.pointwise("region_context.widen", context), 0)
        return context + self.pointwise("region_context.narrow", hidden)

    def scene_context(self, source, global_feature):
        value = leaky(self.pointwise("scene_context.shared.conv", source)) if self.released else source
        query = value.mean(axis=(0, 1))
        relation = 1 / (1 + np.exp(-query * self.linear("scene_context.key", global_feature)))
        weighted = value * relation
        return self.conv_relu_norm("scene_context.refine", weighted) + (weighted if self.released else source)

    def response_maps(self, region, global_feature, label_vectors):
        source = self.conv_relu_norm("stem", region)
        contexts = self.region_context(source), self.scene_context(source, global_feature)
        fused = self.pointwise("fusion.conv", np.concatenate(contexts, axis=2))
        fused = leaky(fused) if self.released else fused
        labels = [self.linear("label_projection", vector) for vector in label_vectors]
        return np.stack([fused @ label for label in labels])

    def scores(self, maps):
        return np.array([np.mean(sorted(one.ravel())[-self.top_k :]) for one in maps])


def leaky(values):
    return np.where(values > 0, values, 0.2 * values)


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_scores_and_response_maps_are_those_of_the_equations(preset):
    model, arguments = small_model(preset), inputs()
    reference = Reference(model, preset, heads=2, top_k=3)
    with torch.no_grad():
        maps, scores = model.response_maps(*arguments), model(*arguments)
    regions, global_features, labels = (argument.numpy() for argument in arguments)
    for image in range(IMAGES):
        expected = reference.response_maps(regions[image], global_features[image], labels)
        np.testing.assert_allclose(maps[image].numpy(), expected, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(scores[image].numpy(), reference.scores(expected), rtol=1e-6)  # float32


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_shapes_follow_the_inputs(preset):
    model, arguments = small_model(preset), inputs()
    assert model.response_maps(*arguments).shape == (IMAGES, LABELS, HEIGHT, WIDTH)
    scores = model(*arguments)
    assert scores.shape == (IMAGES, LABELS)
    assert scores.dtype == torch.float32


def test_float16_features_give_the_scores_of_their_float32_values():
    model = small_model("released").float()
    region, global_feature, labels = inputs(torch.float32)
    region, global_feature = region.half(), global_feature.half()
    narrow = model(region, global_feature, labels)
    assert torch.equal(narrow, model(region.float(), global_feature.float(), labels))


def test_memory_layout_of_the_region_map_does_not_matter():
    model = small_model("released").float()
    region, global_feature, labels = inputs(torch.float32)
    by_channel = region.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    assert torch.equal(model(region, global_feature, labels), model(by_channel, global_feature, labels))


def test_a_label_is_scored_by_its_own_vector_alone():
    model = small_model("released")
    region, global_feature, labels = inputs()
    torch.testing.assert_close(
        model(region, global_feature, labels)[:, 2:3], model(region, global_feature, labels[2:3]), rtol=1e-6, atol=1e-7
    )


def test_paper_preset_ignores_dropouts_and_released_preset_uses_them():
    arguments = inputs()
    paper, released = small_model("paper").train(), small_model("released").train()
    assert torch.equal(paper(*arguments), paper(*arguments))
    assert not torch.equal(released(*arguments), released(*arguments))
    still = small_model("released", attention_dropout=0.0, global_dropout=0.0).train()
    assert torch.equal(still(*arguments), still(*arguments))


@pytest.mark.parametrize("dropout", ["attention_dropout", "global_dropout"])
def test_each_dropout_acts_by_itself(dropout):
    model = small_model("released", **{"attention_dropout": 0.0, "global_dropout": 0.0, dropout: 0.5}).train()
    assert not torch.equal(model(*inputs()), model(*inputs()))


def test_released_batch_normalisation_replaces_nearly_all_of_its_statistics():
    norms = [module for module in small_model("released").modules() if isinstance(module, nn.BatchNorm2d)]
    assert [(norm.eps, norm.momentum) for norm in norms] == [(1e-3, 0.99)] * 2
    norms = [module for module in small_model("paper").modules() if isinstance(module, nn.BatchNorm2d)]
    assert [(norm.eps, norm.momentum) for norm in norms] == [(1e-5, 0.1)] * 2


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_every_parameter_gets_a_gradient(preset):
    model = small_model(preset).train()
    model(*inputs()).square().sum().backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_a_few_steps_learn_labels_that_the_regions_show(preset):
    generator = torch.Generator().manual_seed(2)
    region, global_feature = torch.zeros(8, HEIGHT, WIDTH, 6), torch.zeros(8, 10)
    codes = torch.full((8, 6), -1, dtype=torch.int8)
    for image in range(8):
        label, row = image % 6, image % HEIGHT
        region[image, row, 1, label], codes[image, label] = 3.0, 1
    labels = torch.randn(6, 5, generator=generator)
    model = small_model(preset).float().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        loss = ranking_loss(model(region, global_feature, labels), codes, preset)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_equal_seeds_build_equal_weights():
    first, second = small_model("released"), small_model("released")
    assert all(torch.equal(first.state_dict()[key], value) for key, value in second.state_dict().items())


def test_more_top_regions_than_regions_are_refused():
    model = small_model("released", top_k=13)
    with pytest.raises(UsageError, match=r"model\.top_k is 13.*12 regions.*--set model\.top_k=12"):
        model(*inputs())


def test_the_registry_suggests_the_nearest_model():
    assert isinstance(MODELS.load("biam").build(small_config(), SIZES), BiAM)
    with pytest.raises(UsageError, match="Did you mean 'biam'"):
        MODELS.load("bian")


ABLATIONS = [
    {"classification": "pooled"},
    {"blocks": ("rcb",)},
    {"blocks": ("scb",)},
    {"blocks": ()},
    {"region_weighting": "sigmoid"},
    {"region_norm": "layer"},
    {"scene_weighting": "softmax"},
    {"region_attention": "non-local"},
    {"region_attention": "criss-cross", "blocks": ("rcb",)},
    {"heads": 4},
    {"top_k": 1},
    {"grid_side": 2},
]


@pytest.mark.parametrize("preset", ["paper", "released"])
@pytest.mark.parametrize("changes", ABLATIONS, ids=str)
def test_every_ablation_is_a_model_of_its_own_that_can_learn(preset, changes):
    model = small_model(preset, **changes).train()
    if changes.get("region_attention") == "non-local":
        nn.init.normal_(model.region_context.output.weight)  # it begins as the identity
    side = changes.get("grid_side")
    assert model.response_maps(*inputs()).shape == (IMAGES, LABELS, side or HEIGHT, side or WIDTH)
    scores = model(*inputs())
    assert scores.shape == (IMAGES, LABELS)
    scores.square().sum().backward()
    assert [name for name, parameter in model.named_parameters() if not parameter.grad.any()] == []
    with torch.no_grad():
        evaluated = model.eval()(*inputs())
        assert not torch.allclose(evaluated, small_model(preset)(*inputs()))


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_a_pooled_score_is_that_of_the_mean_region(preset):
    model = small_model(preset, classification="pooled")
    maps = model.response_maps(*inputs())
    torch.testing.assert_close(model(*inputs()), maps.mean(dim=(2, 3)).float())


def test_without_blocks_the_classifier_sees_the_bare_regions():
    model, (region, global_feature, labels) = small_model("paper", blocks=()), inputs()
    regions = model.fusion(model.stem(region.permute(0, 3, 1, 2)))
    expected = torch.einsum("bchw,lc->blhw", regions, model.label_projection(labels))
    torch.testing.assert_close(model.response_maps(region, global_feature, labels), expected)
    assert torch.equal(model(region, 9 * global_feature, labels), model(region, global_feature, labels))


@pytest.mark.parametrize("side", [1, 2, 3])
def test_the_grid_holds_means_of_the_regions_that_it_covers(side):
    model, (region, global_feature, labels) = small_model("released", grid_side=side), inputs()
    coarse = torch.empty(IMAGES, side, side, region.shape[3], dtype=torch.float64)
    for y, x in np.ndindex(side, side):
        rows = slice(y * HEIGHT // side, -((y + 1) * HEIGHT // -side))
        columns = slice(x * WIDTH // side, -((x + 1) * WIDTH // -side))
        coarse[:, y, x] = region[:, rows, columns].mean(dim=(1, 2))
    whole = small_model("released")
    torch.testing.assert_close(
        model.response_maps(region, global_feature, labels), whole.response_maps(coarse, global_feature, labels)
    )


def test_a_grid_finer_than_the_map_is_refused():
    with pytest.raises(UsageError, match=r"grid_side is 4.*3 x 4 regions.*--set model\.grid_side=3"):
        small_model("released", grid_side=4)(*inputs())


@pytest.mark.parametrize(("region", "size"), [(1024, 2048), (512, 4096)])
def test_channels_and_sizes_are_those_of_the_features(region, size):
    sizes = FeatureSizes({"region": region, "global": size}, 5)
    for preset in ("paper", "released"):
        model = build(small_config(preset=preset), sizes).train()
        scores = model(torch.randn(2, 3, 4, region), torch.randn(2, size), torch.randn(6, 5))
        scores.sum().backward()
        assert scores.shape == (2, 6)
