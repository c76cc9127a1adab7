import pytest
import torch
from model_checks import FEATURES, WORD, check_scores_follow_words, codes, features, fitting, targets, words

from pipeline.models import contract, fast0tag
from pipeline.models.fast0tag import Fast0TagConfig
from pipeline.models.sizes import FeatureSizes

SIZES = FeatureSizes({"global": FEATURES}, WORD)

pytestmark = pytest.mark.usefixtures("one_thread")


def small(**changes):
    torch.manual_seed(0)
    return fast0tag.build(Fast0TagConfig(hidden_sizes=(6, 3), **changes), SIZES)


def test_scores_loss_and_gradient_of_the_reference(reference):
    arrays = {name: torch.tensor(array) for name, array in reference("competitors/fast0tag.npz").items()}
    settings = Fast0TagConfig(hidden_sizes=(len(arrays["w1"]), len(arrays["w2"])), input_norm="none", dropout=0.0)
    network = fast0tag.build(settings, FeatureSizes({"global": arrays["x"].shape[1]}, len(arrays["w3"]))).double()
    layers = [layer for layer in network.to_words if isinstance(layer, torch.nn.Linear)]
    with torch.no_grad():
        for number, layer in enumerate(layers, start=1):
            layer.weight.copy_(arrays[f"w{number}"])
            layer.bias.copy_(arrays[f"b{number}"])
    scores = network(arrays["x"], arrays["words"])
    scores.retain_grad()
    loss = fast0tag.loss(scores, targets(settings, arrays["codes"], arrays["words"]))
    loss.backward()
    torch.testing.assert_close(network.to_words(arrays["x"]), arrays["direction"], rtol=0, atol=1e-6)
    torch.testing.assert_close(scores.detach(), arrays["scores"], rtol=0, atol=1e-6)
    torch.testing.assert_close(loss.detach(), arrays["loss"], rtol=0, atol=1e-6)
    torch.testing.assert_close(scores.grad, arrays["grad_scores"], rtol=0, atol=1e-6)


def test_it_has_the_parameters_of_its_widths():
    network = fast0tag.build(Fast0TagConfig(hidden_sizes=(8, 5)), FeatureSizes({"global": 4096}, 300))
    assert sum(weights.numel() for weights in network.parameters()) == 4097 * 8 + 9 * 5 + 6 * 300


@pytest.mark.parametrize("norm", ["l2", "centred"])
def test_scores_follow_words(norm):
    network = small(input_norm=norm)
    contract.put(network, fast0tag.fit(Fast0TagConfig(input_norm=norm), fitting()).buffers)
    check_scores_follow_words(network)


def test_a_centred_feature_is_taken_less_the_mean_of_the_training_images():
    fitted = fast0tag.fit(Fast0TagConfig(input_norm="centred"), fitting())
    torch.testing.assert_close(fitted.buffers["input_norm.mean"], features().float().mean(dim=0))
    assert fast0tag.fit(Fast0TagConfig(), fitting()).buffers == {}


def test_a_step_in_bfloat16_gives_every_weight_a_finite_gradient():
    network = small().train()
    with torch.autocast("cpu", torch.bfloat16):
        scores = network(features(), words())
    assert scores.dtype == torch.float32
    fast0tag.loss(scores, targets(Fast0TagConfig(), codes())).backward()
    assert all(torch.isfinite(weights.grad).all() for weights in network.parameters())
