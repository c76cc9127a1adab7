import pytest
import torch
from model_checks import FEATURES, SEEN, WORD, codes, features, fitting, targets, words

from pipeline.models import contract, logistic
from pipeline.models.logistic import LogisticConfig
from pipeline.models.sizes import FeatureSizes
from schemas.config import TrainConfig

pytestmark = pytest.mark.usefixtures("one_thread")


def small(norm="l2"):
    settings = LogisticConfig(input_norm=norm)
    network = logistic.build(settings, FeatureSizes({"global": FEATURES}, WORD, SEEN))
    contract.put(network, logistic.fit(settings, fitting()).buffers)
    return network


def test_loss_and_gradient_of_the_reference(reference):
    arrays = reference("competitors/logistic.npz")
    scores = torch.tensor(arrays["scores"], requires_grad=True)
    loss = logistic.loss(scores, targets(LogisticConfig(), torch.tensor(arrays["codes"])))
    loss.backward()
    assert loss.item() == pytest.approx(float(arrays["loss"]), abs=1e-6)
    torch.testing.assert_close(scores.grad, torch.tensor(arrays["grad"]), rtol=0, atol=1e-6)


def test_it_starts_from_how_often_each_label_is_met_among_the_images_where_it_is_known():
    present, absent = ((codes() == code).sum(dim=0) for code in (1, -1))
    expected = ((present + 1) / (present + absent + 2)).expand(len(codes()), -1)
    scores = small()(features(), words())
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores.sigmoid(), expected)


@pytest.mark.parametrize("norm", ["none", "l2", "centred"])
def test_scores_are_linear_in_the_normalised_feature_and_no_matter_of_words(norm):
    network = small(norm)
    torch.nn.init.normal_(network.weight)
    torch.nn.init.normal_(network.offset)
    x = features().float()
    x = x - x.mean(dim=0) if norm == "centred" else x
    x = x if norm == "none" else x / x.norm(dim=1, keepdim=True)
    expected = x @ network.weight.T + network.offset + network.prior
    torch.testing.assert_close(network(features(), words()), expected)
    torch.testing.assert_close(network(features(), words(3, seed=9)), expected)


def test_the_penalty_is_on_the_matrix_alone():
    train = TrainConfig(**logistic.PRESETS["ours"]["train"])
    network = small()
    groups = {
        group["weight_decay"]: group["params"] for group in contract.optimizer(logistic, network, train).param_groups
    }
    assert groups[train.weight_decay] == [network.weight]
    assert groups[0.0] == [network.offset]


def test_a_large_score_overflows_nowhere_and_unknown_cells_have_no_gradient():
    scores = torch.full(codes().shape, 1e4).requires_grad_()
    logistic.loss(scores, targets(LogisticConfig(), codes())).backward()
    assert torch.isfinite(scores.grad).all()
    assert not scores.grad[codes() == 0].any()
