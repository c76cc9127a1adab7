"""The (ML)2P encoder against the released modules, whose sizes are small there."""

import pytest
import torch

from pipeline.models import ml2p
from pipeline.models.ml2p.network import Encoder, Ml2p, best_scores


@pytest.fixture
def released(reference):
    return {name: torch.tensor(array) for name, array in reference("competitors/ml2p_head.npz").items()}


def named(key: str) -> str | None:
    """Our name of a weight of theirs."""
    for theirs, ours in (
        ("head.channel_mlp.mlp_token.", "token_mlp."),
        ("head.channel_mlp.mlp_channel.", "channel_mlp."),
        ("head.channel_mlp.layer_norm_1.", "token_norm."),
        ("head.channel_mlp.layer_norm_2.", "channel_norm."),
        ("head.channel_attn.qkv_dwconv.", "attention.spread."),
        ("head.channel_attn.qkv.", "attention.project."),
        ("head.channel_attn.", "attention."),
        ("group.Linear1.", "query."),
        ("group.Linear2.", "key."),
    ):
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs).replace("dense_1.", "0.").replace("dense_2.", "2.")
    raise KeyError(key)


@pytest.fixture
def encoder(released):
    settings = ml2p.Ml2pConfig(groups=int(released["groups"]), shrink=1)
    built = Encoder(settings.groups, int(released["word_size"]), 49, settings).double()
    state = {key.removeprefix("state/"): value for key, value in released.items() if key.startswith("state/")}
    built.load_state_dict({named(key): value for key, value in state.items()})
    return built


def test_each_stage_is_that_of_the_released_modules(released, encoder):
    embedded = released["embedded"]
    shuffled = embedded.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)
    torch.testing.assert_close(shuffled, released["shuffled"], rtol=0, atol=1e-12)
    tokens = encoder.attention(shuffled)
    torch.testing.assert_close(tokens, released["channel_attention"], rtol=0, atol=1e-5)
    torch.testing.assert_close(encoder.encoded(tokens), released["encoded"], rtol=0, atol=1e-5)
    torch.testing.assert_close(encoder(embedded), released["grouped"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("reading", ["interleaved", "transposed"])
def test_scores_are_those_of_the_released_modules_in_both_readings(released, reading):
    network = Ml2p([8, 8, 8], 3, ml2p.Ml2pConfig(groups=2, reading=reading))
    vectors = network.vectors(released["grouped"])
    found = best_scores(vectors, released["words"])
    torch.testing.assert_close(found, released[f"scores_{reading}"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("reading", "score"), [("interleaved", 2), ("transposed", 4)])
def test_the_two_readings_by_hand(reading, score):
    network = Ml2p([8], 3, ml2p.Ml2pConfig(maps="region", groups=2, reading=reading))
    vectors = network.vectors(torch.tensor([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]))
    assert best_scores(vectors, torch.tensor([[1.0, 0.0, 0.0]])).item() == score


def test_the_residual_adds_the_channel_that_stands_in_the_same_place():
    torch.manual_seed(0)
    settings = ml2p.Ml2pConfig(groups=2, residual=True)
    encoder = Encoder(2, 3, 49, settings)
    seen = []
    encoder.encoded = lambda tokens: seen.append(tokens) or tokens.amax(dim=3)
    embedded = torch.rand(1, 6, 7, 7)
    encoder(embedded)
    shuffled = embedded.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)
    expected = encoder.attention(shuffled) + shuffled[:, [[0, 1, 2], [3, 4, 5]]].flatten(3)
    torch.testing.assert_close(seen[0], expected)


def test_a_pyramid_of_three_maps_is_pooled_to_one_grid():
    torch.manual_seed(0)
    network = Ml2p([4, 6, 8], 5, ml2p.Ml2pConfig(groups=2)).eval()
    maps = [torch.rand(2, 28, 28, 4), torch.rand(2, 14, 14, 6), torch.rand(2, 7, 7, 8)]
    assert network(*maps, torch.randn(3, 5)).shape == (2, 3)
    assert ml2p.needs(ml2p.Ml2pConfig()) == ("pool3", "pool4", "pool5")


def test_the_head_has_the_published_size():
    network = Ml2p([256, 512, 512], 300, ml2p.Ml2pConfig())
    weights = sum(values.numel() for values in network.parameters()) / 1e6
    assert weights == pytest.approx(23.34 - 4.41, abs=0.02)  # without the layer that the release never uses
