import pytest
import torch
from model_checks import FEATURES, WORD, check_scores_follow_words, codes, fitting, targets

from pipeline.models import contract, labelem
from pipeline.models.labelem import LabelEmConfig
from pipeline.models.shared.rank_weighted import rank_weighted_loss
from pipeline.models.sizes import FeatureSizes

pytestmark = pytest.mark.usefixtures("one_thread")


def test_scores_loss_and_gradient_of_the_reference(reference):
    arrays = {name: torch.tensor(array) for name, array in reference("competitors/labelem.npz").items()}
    settings = LabelEmConfig()
    network = labelem.build(settings, FeatureSizes({"global": len(arrays["W"])}, arrays["W"].shape[1])).double()
    with torch.no_grad():
        network.matrix.copy_(arrays["W"])
    scores = network(arrays["x"], arrays["words"])
    scores.retain_grad()
    loss = labelem.loss(scores, targets(settings, arrays["codes"], arrays["words"]))
    loss.backward()
    torch.testing.assert_close(scores.detach(), arrays["scores"], rtol=0, atol=1e-6)
    torch.testing.assert_close(loss.detach(), arrays["loss"], rtol=0, atol=1e-6)
    torch.testing.assert_close(scores.grad, arrays["grad_scores"], rtol=0, atol=1e-6)


def test_uniform_weights_are_a_plain_hinge():
    scores = torch.randn(codes().shape, generator=torch.Generator().manual_seed(0))
    loss = labelem.loss(scores, targets(LabelEmConfig(weights="uniform"), codes()))
    assert loss == rank_weighted_loss(scores, codes(), "uniform")


def test_the_matrix_starts_with_the_deviation_that_keeps_the_scale():
    torch.manual_seed(0)
    network = labelem.build(LabelEmConfig(), FeatureSizes({"global": 4096}, 3))
    assert network.matrix.std().item() == pytest.approx(1 / 64, rel=0.02)


@pytest.mark.parametrize("norm", ["l2", "centred"])
def test_scores_follow_words(norm):
    torch.manual_seed(0)
    settings = LabelEmConfig(input_norm=norm)
    network = labelem.build(settings, FeatureSizes({"global": FEATURES}, WORD))
    contract.put(network, labelem.fit(settings, fitting()).buffers)
    check_scores_follow_words(network)
