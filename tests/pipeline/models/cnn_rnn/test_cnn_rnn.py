import math
from itertools import product

import pytest
import torch
from model_checks import FEATURES, SEEN, WORD, codes, features, fitting, targets, words

from pipeline.models import cnn_rnn, contract
from pipeline.models.cnn_rnn import CnnRnnConfig
from pipeline.models.cnn_rnn.network import CnnRnn
from pipeline.models.sizes import FeatureSizes

pytestmark = pytest.mark.usefixtures("one_thread")


def test_likelihood_and_loss_of_the_reference(reference):
    given = {name: torch.tensor(array) for name, array in reference("competitors/cnn_rnn.npz").items()}
    network = CnnRnn(CnnRnnConfig(input_norm="none", label_size=3, state_size=2), 3, 4).double().train()
    for weights, name in (
        (network.label_vectors, "Ul"),
        (network.cell.of_input, "Wih"),
        (network.cell.of_state, "Whh"),
        (network.cell.offset, "b"),
        (network.of_state.weight, "Uo"),
        (network.of_image.weight, "UI"),
    ):
        weights.data = given[name]
    network.frequency = torch.tensor([1, 0, 5, 0])  # so that label 2 is said before label 0
    known = torch.tensor([[1, -1, 1, -1]], dtype=torch.int8)
    assert network.targets(known).tolist() == [[2, 0, 4]]  # 4 is the end
    loss = network(given["image"][None], words(), known)
    assert loss.item() == pytest.approx(float(given["loss"]), abs=1e-6)


def built(labels: int = 3, **settings: object) -> CnnRnn:
    torch.manual_seed(0)
    config = CnnRnnConfig(input_norm="none", label_size=4, state_size=5, **settings)
    return CnnRnn(config, FEATURES, labels).eval()


def test_labels_are_said_by_frequency_lower_columns_first_and_no_more_than_so_many():
    network = built(labels=5, most_labels=3)
    network.frequency = torch.tensor([2, 7, 7, 1, 9])
    known = torch.tensor([[1, 1, 1, 1, -1], [-1, -1, -1, -1, 0], [-1, -1, -1, -1, 1]], dtype=torch.int8)
    assert network.targets(known).tolist() == [[1, 2, 0, 5], [5, -1, -1, -1], [4, 5, -1, -1]]


def test_an_unknown_label_does_not_compete_in_training():
    network = built().train()
    known = torch.tensor([[1, 0, -1]], dtype=torch.int8)
    before = network(features()[:1], words(), known)
    with torch.no_grad():
        network.label_vectors[1] += 10
    torch.testing.assert_close(network(features()[:1], words(), known), before)


def slow_scores(network: CnnRnn, image: torch.Tensor, steps: int) -> list[float]:
    """By all ways there are: the likeliest that ended, what each label's probability was on it, and what was said."""
    labels, best = network.labels, (-math.inf, [0.0] * network.labels)
    for length in range(steps):
        for way in product(range(labels), repeat=length):
            if len(set(way)) < length:
                continue
            said, (hidden, memory) = network._start(1), network.cell.empty(image)
            total, largest = 0.0, [0.0] * labels
            for label in (*way, labels):
                hidden, memory = network.cell(said, hidden, memory)
                likely = network.log_probabilities(image, hidden)[0]
                largest = [max(old, math.exp(new)) for old, new in zip(largest, likely.tolist(), strict=False)]
                total += float(likely[label])
                said = network.label_vectors[label][None]
            if total > best[0]:
                best = (total, [value + (label in way) for label, value in enumerate(largest)])
    return best[1]


@torch.no_grad()
def test_a_search_wide_enough_finds_the_likeliest_way():
    network = built(beams=40, steps=4)
    scores = network(features(), words())
    image = network.of_image(network.input_norm(features()))
    for row in range(3):
        assert scores[row].tolist() == pytest.approx(slow_scores(network, image[row : row + 1], 4), abs=1e-5)


@torch.no_grad()
def test_few_images_at_a_time_score_as_all_do(monkeypatch):
    from pipeline.models.cnn_rnn import network as module

    network = built()
    whole = network(features(), words())
    monkeypatch.setattr(module, "_CELLS_AT_ONCE", 1)
    torch.testing.assert_close(network(features(), words()), whole)
    assert whole.dtype == torch.float32


def test_it_learns():
    torch.manual_seed(0)
    settings = CnnRnnConfig(input_norm="centred", label_size=8, state_size=16)
    network = cnn_rnn.build(settings, FeatureSizes({"global": FEATURES}, WORD, SEEN)).train()
    contract.put(network, cnn_rnn.fit(settings, fitting()).buffers)
    optimizer, losses = torch.optim.RMSprop(network.parameters(), lr=1e-2), []
    for _ in range(40):
        loss = cnn_rnn.loss(network(features(), words(), codes()), targets(settings, codes()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
