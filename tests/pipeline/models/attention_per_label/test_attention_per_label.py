import pytest
import torch

from pipeline.models import attention_per_label
from pipeline.models.attention_per_label.network import AttentionPerLabel, Sampled
from pipeline.models.shared.ranking import ranking_loss
from pipeline.models.targets import Targets
from schemas.config import TrainConfig


def built(sampled_labels: int = 1024) -> AttentionPerLabel:
    torch.manual_seed(0)
    settings = attention_per_label.AttentionPerLabelConfig(joint_size=4, sampled_labels=sampled_labels)
    return AttentionPerLabel(6, 5, settings)


def test_scores_are_those_of_the_reference(reference):
    given = {name: torch.tensor(array) for name, array in reference("competitors/attention_variants.npz").items()}
    network = AttentionPerLabel(3, 3, attention_per_label.AttentionPerLabelConfig(joint_size=2)).double()
    network.of_region.data, network.of_word.data = given["A_region"], given["A_word"]
    network.energy.data, network.projection.data = given["p"], given["W"]
    attention = network.attention(given["features"], given["seen_words"]).mT
    torch.testing.assert_close(attention, given["per_label_attention"], rtol=0, atol=1e-6)
    for words, scores in (("seen_words", "per_label_scores"), ("unseen_words", "per_label_zsl")):
        torch.testing.assert_close(network.scored(given["features"], given[words]), given[scores], rtol=0, atol=1e-6)


def test_a_step_looks_at_all_labels_that_an_image_bears_and_so_many_others():
    network = built(sampled_labels=3).train()
    codes = torch.full((2, 40), -1, dtype=torch.int8)
    codes[0, 7], codes[1, 30], codes[1, 2] = 1, 1, 0
    words = torch.nn.functional.normalize(torch.randn(40, 5), dim=1)
    output = network(torch.rand(2, 3, 3, 6), words, codes)
    columns = output.columns.tolist()
    assert {7, 30} <= set(columns)
    assert columns == sorted(set(columns))
    assert len(columns) == 5
    again = network(torch.rand(2, 3, 3, 6), words, codes).columns
    assert again.tolist() != columns


def test_the_loss_is_the_ranking_loss_of_the_labels_looked_at():
    scores = torch.randn(2, 3)
    codes = torch.tensor([[1, -1, -1, -1, 0], [-1, -1, 1, 1, -1]], dtype=torch.int8)
    columns = torch.tensor([0, 2, 4])
    settings = attention_per_label.AttentionPerLabelConfig()
    targets = Targets(codes, torch.zeros(5, 5), 2, settings, TrainConfig())
    expected = ranking_loss(scores, codes[:, columns], "released")
    torch.testing.assert_close(attention_per_label.loss(Sampled(scores, columns), targets), expected)


@pytest.mark.usefixtures("one_thread")
def test_few_images_at_a_time_score_as_all_do(monkeypatch):
    from pipeline.models.attention_per_label import network as module

    network, words, region = built().eval(), torch.randn(7, 5), torch.rand(5, 3, 3, 6)
    whole = network(region, words)
    monkeypatch.setattr(module, "_CELLS_AT_ONCE", 1)
    torch.testing.assert_close(network(region, words), whole)


def test_response_maps_show_the_attention_of_each_label():
    network, words, region = built().eval(), torch.randn(7, 5), torch.rand(2, 3, 2, 6)
    maps = network.response_maps(region, words)
    assert maps.shape == (2, 7, 3, 2)
    torch.testing.assert_close(maps.sum(dim=(2, 3)), torch.ones(2, 7))
