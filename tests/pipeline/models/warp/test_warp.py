import pytest
import torch
from model_checks import FEATURES, SEEN, WORD, codes, features, fitting, targets, words

from pipeline.models import contract, warp
from pipeline.models.sizes import FeatureSizes
from pipeline.models.warp import WarpConfig

pytestmark = pytest.mark.usefixtures("one_thread")


def test_loss_and_gradient_of_the_reference(reference):
    arrays = reference("competitors/warp.npz")
    scores = torch.tensor(arrays["scores"], requires_grad=True)
    loss = warp.loss(scores, targets(WarpConfig(), torch.tensor(arrays["codes"])))
    loss.backward()
    assert loss.item() == pytest.approx(float(arrays["loss"]), abs=1e-6)
    torch.testing.assert_close(scores.grad, torch.tensor(arrays["grad_scores"]), rtol=0, atol=1e-6)


def test_it_learns():
    settings = WarpConfig(input_norm="centred")
    network = warp.build(settings, FeatureSizes({"global": FEATURES}, WORD, SEEN))
    contract.put(network, warp.fit(settings, fitting()).buffers)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    losses = []
    for _ in range(60):
        loss = warp.loss(network(features(), words()), targets(settings, codes()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
