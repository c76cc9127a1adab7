import pytest
import torch
from model_checks import FEATURES, WORD, check_scores_follow_words, codes, features, fitting, targets, words

from pipeline.models import contract, sdl
from pipeline.models.sdl import SdlConfig
from pipeline.models.sizes import FeatureSizes

pytestmark = pytest.mark.usefixtures("one_thread")


def small(settings):
    torch.manual_seed(0)
    network = sdl.build(settings, FeatureSizes({settings.feature: FEATURES}, WORD))
    contract.put(network, sdl.fit(settings, fitting()).buffers)
    return network


@pytest.mark.parametrize("weight", [0.3, 0.4])
def test_loss_and_gradient_of_the_release(reference, weight):
    arrays = {name: torch.tensor(array) for name, array in reference("competitors/sdl_loss.npz").items()}
    settings = SdlConfig(rows=int(arrays["rows"]), input_norm="none", unknown="negative", variance_weight=weight)
    outputs = arrays["output"].shape[1]
    network = sdl.build(settings, FeatureSizes({"global": outputs}, int(arrays["dim"]))).double().train()
    with torch.no_grad():
        network.to_vectors.weight.copy_(torch.eye(outputs))
    feature = arrays["output"].requires_grad_()
    loss = sdl.loss(network(feature, arrays["words"]), targets(settings, arrays["codes"], arrays["words"]))
    loss.backward()
    torch.testing.assert_close(loss.detach(), arrays[f"loss_{weight}"], rtol=0, atol=1e-6)
    torch.testing.assert_close(feature.grad, arrays[f"grad_{weight}"], rtol=0, atol=1e-6)


def test_a_label_takes_the_best_of_the_vectors():
    network = small(SdlConfig(rows=3)).eval()
    vectors = network.to_vectors(torch.nn.functional.normalize(features().float(), dim=1)).view(-1, WORD, 3)
    expected = torch.stack([vectors[:, :, row] @ words().T for row in range(3)]).max(dim=0).values
    torch.testing.assert_close(network(features(), words()), expected)


def test_a_region_map_counts_by_its_mean():
    settings = SdlConfig(feature="region", input_norm="none")
    assert tuple(sdl.needs(settings)) == ("region",)
    network = small(settings).eval()
    regions = torch.randn(3, 2, 4, FEATURES).half()
    torch.testing.assert_close(network(regions, words()), network(regions.float().mean(dim=(1, 2)), words()))


@pytest.mark.parametrize("norm", ["none", "l2", "centred"])
def test_scores_follow_words(norm):
    check_scores_follow_words(small(SdlConfig(rows=2, input_norm=norm)))


def test_a_step_in_bfloat16_gives_every_weight_a_finite_gradient_even_without_labels():
    settings = SdlConfig(rows=2)
    for known in (codes(), torch.zeros_like(codes())):
        network = small(settings).train()
        with torch.autocast("cpu", torch.bfloat16):
            loss = sdl.loss(network(features(), words()), targets(settings, known))
        loss.backward()
        assert torch.isfinite(network.to_vectors.weight.grad).all()
