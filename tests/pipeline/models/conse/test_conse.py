import pytest
import torch
from model_checks import FEATURES, SEEN, WORD, check_scores_follow_words, codes, features, fitting, targets, words

from pipeline.models import conse, contract, logistic
from pipeline.models.conse import ConseConfig
from pipeline.models.conse.network import conse_scores
from pipeline.models.sizes import FeatureSizes
from schemas.errors import UsageError

SIZES = FeatureSizes({"global": FEATURES}, WORD, SEEN)

pytestmark = pytest.mark.usefixtures("one_thread")


def small(**changes):
    torch.manual_seed(0)
    settings = ConseConfig(mixed_labels=3, **changes)
    network = conse.build(settings, SIZES)
    contract.put(network, conse.fit(settings, fitting()).buffers)
    torch.nn.init.normal_(network.weight)
    return network


@pytest.mark.parametrize("mixed", [2, 4])
def test_scores_of_the_reference_of_unseen_and_of_seen_labels(reference, mixed):
    arrays = {name: torch.tensor(array) for name, array in reference("competitors/conse.npz").items()}
    logits, seen, unseen = arrays["probabilities"].logit(), arrays["seen_words"], arrays["unseen_words"]
    zsl = conse_scores(logits, seen, unseen, mixed)
    torch.testing.assert_close(zsl, arrays[f"zsl_top{mixed}"], rtol=0, atol=1e-6)
    if mixed == 2:
        both = conse_scores(logits, seen, torch.cat([seen, unseen]), mixed)
        torch.testing.assert_close(both, arrays["gzsl_top2"], rtol=0, atol=1e-6)


def test_the_cosine_by_hand():
    logits = torch.tensor([[0.9, 0.5, 0.2]]).logit()
    scores = conse_scores(logits, torch.eye(3), torch.eye(3), mixed_labels=2)
    assert scores[0, 1].item() == pytest.approx(0.485643, abs=1e-6)


def test_labels_are_ordered_by_log_odds_where_probabilities_round_to_one_and_the_first_of_equal_ones_counts():
    logits = torch.tensor([[40.0, 50.0, 60.0], [1.0, 1.0, 1.0]])
    assert (conse_scores(logits, torch.eye(3), torch.eye(3), mixed_labels=1).argmax(dim=1)).tolist() == [2, 0]


def test_an_image_where_nothing_is_probable_and_one_whose_words_cancel_out_score_nothing():
    logits, opposite = torch.tensor([[-40.0, -50.0], [1.0, 1.0]]), torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert not conse_scores(logits, opposite, torch.eye(2), mixed_labels=2).any()


@pytest.mark.parametrize("norm", ["l2", "centred"])
def test_scores_follow_words(norm):
    check_scores_follow_words(small(input_norm=norm))


def test_it_is_trained_as_a_logistic_regression_of_the_seen_labels():
    network = small().train()
    plain = logistic.build(logistic.LogisticConfig(), SIZES)
    plain.load_state_dict({name: value for name, value in network.state_dict().items() if name != "seen_words"})
    logits = network(features(), words())
    torch.testing.assert_close(logits, plain(features(), words()))
    known = targets(ConseConfig(), codes())
    assert conse.loss(logits, known) == logistic.loss(logits, known)


def test_more_labels_than_there_are_cannot_be_mixed():
    with pytest.raises(
        UsageError, match=r"model.mixed_labels: got 10, but there are 6 seen labels, expected at most 6"
    ):
        conse.fit(ConseConfig(), fitting())
