"""Against arrays computed with the authors' implementation."""

import pytest
import torch

from pipeline.models.biam.network import build
from pipeline.models.biam.released_keys import load_released_state, released_state
from pipeline.models.biam.settings import BiamConfig
from pipeline.models.shared.ranking import ranking_loss
from pipeline.models.sizes import FeatureSizes
from schemas.errors import UsageError


@pytest.fixture
def forward(reference):
    return reference("biam_forward.npz")


@pytest.fixture
def state(forward):
    return {key.removeprefix("state/"): torch.tensor(forward[key]) for key in forward if key.startswith("state/")}


@pytest.fixture
def model(forward, state):
    config = BiamConfig(
        preset="released",
        channels=int(forward["channel_dim"]),
        heads=int(forward["heads"]),
        top_k=int(forward["topk"]),
        attention_dropout=0.0,
        global_dropout=0.0,
    )
    sizes = FeatureSizes(
        {"region": forward["features"].shape[1], "global": forward["x_g"].shape[1]}, forward["vecs"].shape[1]
    )
    built = build(config, sizes)
    load_released_state(built, state)
    return built


def as_region_map(features):
    """[image, channel, region] of a square map, as our stores hold it."""
    side = int(features.shape[2] ** 0.5)
    return torch.tensor(features).unflatten(2, (side, side)).permute(0, 2, 3, 1).contiguous()


def test_logits_of_the_reference(model, forward):
    with torch.no_grad():
        scores = model.eval()(
            as_region_map(forward["features"]), torch.tensor(forward["x_g"]), torch.tensor(forward["vecs"])
        )
    torch.testing.assert_close(scores, torch.tensor(forward["logits"]), rtol=0, atol=1e-4)


def test_first_steps_of_the_reference_training(model, reference):
    curve = reference("biam_training_curve.npz")
    region, size = as_region_map(curve["features"]), int(curve["batch_size"])
    global_feature, codes, labels = (torch.tensor(curve[key]) for key in ("x_g", "labels", "vecs"))
    optimizer = torch.optim.Adam(model.train().parameters(), lr=1e-3, betas=(0.9, 0.999), weight_decay=5e-4)
    losses = []
    for step in range(4):
        batch = slice(step * size % len(codes), step * size % len(codes) + size)
        loss = ranking_loss(model(region[batch], global_feature[batch], labels), codes[batch], "released")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == pytest.approx(list(curve["losses"][:4]), abs=1e-3)


def test_weights_go_out_as_they_came_in(model, state):
    back = released_state(model)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)


def test_weights_of_another_width_are_refused(state):
    other = build(BiamConfig(preset="released", channels=32), FeatureSizes({"region": 512, "global": 4096}, 300))
    with pytest.raises(UsageError, match=r"do not fit the model.*found \(512, 128, 1, 1\), expected \(512, 64, 1, 1\)"):
        load_released_state(other, state)


def test_weights_with_a_missing_or_an_unknown_name_are_refused():
    model = build(BiamConfig(preset="released", channels=8, heads=2), FeatureSizes({"region": 6, "global": 10}, 5))
    state = released_state(model)
    without = {key: value for key, value in state.items() if key != "W.bias"}
    with pytest.raises(UsageError, match=r"in 1 of \d+ tensors, first W\.bias: found none"):
        load_released_state(model, without)
    with pytest.raises(UsageError, match=r"first V\.bias: found \(512,\), expected none"):
        load_released_state(model, {**state, "V.bias": state["W.bias"]})


def test_paper_preset_has_a_part_of_the_released_names():
    sizes = FeatureSizes({"region": 6, "global": 10}, 5)
    paper, released = (
        released_state(build(BiamConfig(preset=preset, channels=8, heads=2), sizes)).keys()
        for preset in ("paper", "released")
    )
    assert paper < released


def test_a_part_that_the_release_does_not_have_cannot_go_out():
    model = build(BiamConfig(channels=8, heads=2, region_norm="layer"), FeatureSizes({"region": 6, "global": 10}, 5))
    with pytest.raises(UsageError, match=r"has no part 'region_context\.context_norm'"):
        released_state(model)
