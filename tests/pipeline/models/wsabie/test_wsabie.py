import pytest
import torch
from model_checks import FEATURES, SEEN, WORD, codes, features, fitting, targets, words

from pipeline.models import contract, wsabie
from pipeline.models.shared.rank_weighted import harmonic_numbers
from pipeline.models.sizes import FeatureSizes
from pipeline.models.wsabie import WsabieConfig
from pipeline.models.wsabie.network import Wsabie, sampled_rank_loss
from schemas.config import TrainConfig

pytestmark = pytest.mark.usefixtures("one_thread")


def test_scores_and_projection_of_the_reference(reference):
    given = {name: torch.tensor(array) for name, array in reference("competitors/wsabie.npz").items()}
    network = Wsabie(WsabieConfig(input_norm="none", joint_size=2), 4, 3).double()
    network.feature_matrix.data, network.label_matrix.data = given["U"].clone(), given["V"].clone()
    scores = network(given["x"], given["x"])
    torch.testing.assert_close(scores, given["scores"], rtol=0, atol=1e-6)
    network.project()
    torch.testing.assert_close(network.feature_matrix.data, given["U_projected"], rtol=0, atol=1e-6)
    torch.testing.assert_close(network.label_matrix.data, given["V_projected"], rtol=0, atol=1e-6)


def test_a_label_that_is_drawn_after_k_tries_weighs_by_its_rank():
    torch.manual_seed(0)
    scores = torch.tensor([[2.0, 5.0, -9.0, -9.0, 1.5, 9.0]])
    known = torch.tensor([[1, -1, -1, -1, -1, 0]], dtype=torch.int8)
    harmonic = harmonic_numbers(6)
    possible = {  # tries until one of the two that violate is drawn, of the four that are absent
        float(harmonic[5 // tries] * hinge) for tries in (1, 2, 3) for hinge in (4.0, 0.5)
    }
    found = {sampled_rank_loss(scores, known, 1).item() for _ in range(200)}
    assert {round(value, 5) for value in found} == {round(value, 5) for value in possible}


def test_a_label_that_none_violates_adds_nothing_and_has_a_gradient():
    scores = torch.tensor([[9.0, 1.0, 0.0]], requires_grad=True)
    loss = sampled_rank_loss(scores, torch.tensor([[1, -1, -1]], dtype=torch.int8), 1)
    loss.backward()
    assert loss.item() == 0
    assert scores.grad.tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("ranks", ["sampled", "counted"])
def test_it_learns_and_keeps_its_norms(ranks: str):
    torch.manual_seed(0)
    settings = WsabieConfig(input_norm="centred", joint_size=4, ranks=ranks)
    network = wsabie.build(settings, FeatureSizes({"global": FEATURES}, WORD, SEEN))
    contract.put(network, wsabie.fit(settings, fitting()).buffers)
    optimizer = wsabie.optimizer(network, TrainConfig(lr=0.02, momentum=0.0, weight_decay=0.0))
    losses = []
    for _ in range(100):
        loss = wsabie.loss(network(features(), words()), targets(settings, codes()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])
    assert network.feature_matrix.norm(dim=0).max() < 1.0001
    assert network.label_matrix.norm(dim=1).max() < 1.0001
