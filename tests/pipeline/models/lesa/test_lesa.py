"""LESA against the released graph, and its parts against loops."""

import numpy as np
import pytest
import torch

from pipeline.models import lesa
from pipeline.models.lesa.network import Lesa, LesaOutput, parts
from pipeline.models.shared.optimizers import TensorFlowRMSProp
from pipeline.models.shared.region_attention import RegionTrunk
from pipeline.models.targets import Targets
from schemas.config import TrainConfig

WEIGHTS = ("w_att_1", "w_att_2", "W")


@pytest.fixture
def released(reference):
    return reference("competitors/lesa.npz")


@pytest.fixture
def network(released):
    built = Lesa(4, 3, attentions=2)
    for parameter, name in zip(weights_of(built), WEIGHTS, strict=True):
        parameter.data = torch.tensor(released[name])
    return built


def weights_of(network: Lesa) -> list[torch.nn.Parameter]:
    return [network.attention.hidden, network.attention.energy, network.projection]


def test_scores_are_those_of_the_released_graph(released, network):
    regions = torch.tensor(released["features"])
    seen, unseen = (torch.tensor(released[name]) for name in ("seen_words", "unseen_words"))
    output = network.scored(regions, seen)
    torch.testing.assert_close(output.scores, torch.tensor(released["scores"]), rtol=0, atol=1e-6)
    torch.testing.assert_close(
        output.energies.softmax(dim=1).mT, torch.tensor(released["attention"]), rtol=0, atol=1e-6
    )
    zsl = network.scored(regions, unseen).scores
    torch.testing.assert_close(zsl, torch.tensor(released["zsl"]), rtol=0, atol=1e-6)
    both = torch.tensor(released["gzsl"])  # unseen labels first, there
    torch.testing.assert_close(torch.cat([zsl, output.scores], dim=1), both, rtol=0, atol=1e-6)


def test_the_four_parts_of_the_loss_and_the_gradients_are_those_of_the_released_graph(released, network):
    output = network.scored(torch.tensor(released["features"]), torch.tensor(released["seen_words"]))
    codes = torch.tensor(released["codes"])
    found = parts(output, codes, len(codes))
    expected = [released[name] for name in ("rank", "dist", "glob", "span")]
    assert [part.item() for part in found] == pytest.approx([float(value) for value in expected], abs=1e-6)
    targets = Targets(codes, torch.tensor(released["seen_words"]), len(codes), lesa.LesaConfig(), TrainConfig())
    loss = lesa.loss(output, targets)
    assert loss.item() == pytest.approx(float(released["loss"]), abs=1e-6)
    gradients = torch.autograd.grad(loss, weights_of(network))
    for gradient, name in zip(gradients, WEIGHTS, strict=True):
        torch.testing.assert_close(gradient, torch.tensor(released[f"grad_{name}"]), rtol=1e-5, atol=1e-6)


def test_the_convolution_is_padded_as_by_tensorflow(released):
    trunk = RegionTrunk(2).eval()
    trunk.norm.eps = 0.0  # fresh statistics then change nothing
    trunk.conv.weight.data = torch.tensor(released["conv_kernel"]).permute(3, 2, 0, 1).contiguous()
    found = trunk(torch.tensor(released["conv_input"])).unflatten(1, (3, 3))
    torch.testing.assert_close(found, torch.tensor(released["conv_output"]).relu(), rtol=0, atol=1e-6)


def test_zeros_are_added_on_the_right_and_at_the_bottom():
    trunk = RegionTrunk(1).eval()
    trunk.norm.eps = 0.0
    torch.nn.init.ones_(trunk.conv.weight)
    found = trunk(torch.tensor([[1.0, 2.0], [3.0, 4.0]])[None, :, :, None])
    assert found.flatten().tolist() == [10, 6, 7, 4]


def test_the_optimiser_is_that_of_tensorflow(released):
    weights = torch.nn.Parameter(torch.tensor(released["rmsprop_start"]))
    optimizer = TensorFlowRMSProp([weights], lr=1e-3)
    for gradient, expected in zip(released["rmsprop_grads"], released["rmsprop_path"], strict=True):
        weights.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        np.testing.assert_allclose(weights.detach().numpy(), expected, rtol=0, atol=1e-6)


def sample(num_images=4, num_labels=5, attentions=3):
    torch.manual_seed(0)
    network = Lesa(6, 4, attentions).double()
    regions = torch.rand(num_images, 7, 6, dtype=torch.float64)
    words = torch.nn.functional.normalize(torch.randn(num_labels, 4, dtype=torch.float64), dim=1)
    codes = torch.randint(-1, 2, (num_images, num_labels), dtype=torch.int8)
    codes[1] = -1  # nothing present
    return network, regions, words, codes


def test_the_parts_are_the_formulas_written_as_loops():
    network, regions, words, codes = sample()
    output = network.scored(regions, words)
    served, losing, squares = 0.0, 0.0, 0.0
    labels = (words @ network.projection.T).detach()
    output = LesaOutput(*(values.detach() for values in output))
    for image in range(len(regions)):
        shares = output.by_attention[image].softmax(dim=0)
        for attention in shares:
            served += float(attention[codes[image] == 1].sum()) ** 2
        for column, code in enumerate(codes[image].tolist()):
            of_mean = float(regions[image].mean(dim=0) @ labels[column])
            losing += max(0.0, (of_mean - float(output.scores[image, column])) * code)
        energies = output.energies[image].T
        for one in range(3):
            for other in set(range(3)) - {one}:
                squares += float(torch.cosine_similarity(energies[one], energies[other], dim=0)) ** 2
    found = parts(output, codes, len(codes))
    assert found.distribution.item() == pytest.approx(served / (4 * 3))
    assert found.against_mean.item() == pytest.approx(losing)
    assert found.span.item() == pytest.approx(squares**0.5)


def test_one_attention_has_no_span_and_no_gradient_of_it():
    network, regions, words, codes = sample(attentions=1)
    span = parts(network.scored(regions, words), codes, 4).span
    assert span.item() == 0
    assert not torch.autograd.grad(span, network.attention.energy)[0].any()


def test_response_maps_show_the_attention_that_wins():
    network, _, words, _ = sample()
    network.eval()
    region = torch.rand(2, 3, 3, 6, dtype=torch.float64)
    maps = network.response_maps(region, words)
    output = network.scored(network.trunk(region), words)
    best = output.by_attention[1, :, 2].argmax()
    expected = output.energies[1, :, best].softmax(dim=0).float()
    torch.testing.assert_close(maps[1, 2].flatten(), expected)
    assert maps.shape == (2, 5, 3, 3)
