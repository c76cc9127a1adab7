"""Preset `tuned`: what its sum is made of, by formulas written out."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from tuned_settings import TUNED_OTHERS

from pipeline.models import MODELS
from pipeline.models.biam.blocks import StandardisedConv
from pipeline.models.biam.settings import BiamConfig
from pipeline.models.biam.tuned import Scaled
from pipeline.models.contract import fit, loss, put
from pipeline.models.fitting import Fitting, Maps, Validation
from pipeline.models.shared.softmax import softmax_loss
from pipeline.models.shared.word_space import word_space
from pipeline.models.sizes import FeatureSizes
from pipeline.models.targets import Targets
from pipeline.training.fitting import mean_ap
from schemas.config import TrainConfig
from schemas.errors import UsageError

pytestmark = pytest.mark.usefixtures("one_thread")

BIAM = MODELS.load("biam")
IMAGES, VALIDATION, SEEN, WORD = 40, 12, 8, 6
SIZES = FeatureSizes({"region": 5, "global": 7}, WORD)


class Data:
    """Images with at least one label each."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        every = IMAGES + VALIDATION
        self.regions = torch.from_numpy(rng.random((every, 3, 3, 5)).astype(np.float16))
        self.scenes = torch.from_numpy(rng.random((every, 7)).astype(np.float16))
        self.words = functional.normalize(torch.from_numpy(0.3 + rng.normal(size=(SEEN + 3, WORD))).float(), dim=1)
        self.codes = torch.from_numpy(rng.choice([-1, 1], size=(every, SEEN), p=[0.8, 0.2]).astype(np.int8))
        self.codes[torch.arange(every), torch.arange(every) % SEEN] = 1

    def fitting(self, needs: tuple[str, ...] = ("region", "global"), *, validated: bool = True) -> Fitting:
        by_name = {"region": self.regions, "global": self.scenes}

        def passed(rows: slice) -> Iterator[tuple[Maps, Tensor]]:
            for part in range(*rows.indices(len(self.codes)))[::10]:
                some = slice(part, min(part + 10, rows.stop))
                yield tuple(by_name[name][some] for name in needs), self.codes[some]

        train, rest = slice(0, IMAGES), slice(IMAGES, IMAGES + VALIDATION)
        counts = (self.codes[train] == 1).sum(dim=0)
        return Fitting(
            words=self.words[:SEEN],
            present=counts,
            absent=IMAGES - counts,
            train=lambda: passed(train),
            validated=None,
            seed=0,
            validation=Validation(VALIDATION, lambda: passed(rest), mean_ap) if validated else None,
            reading=lambda names: self.fitting(tuple(names), validated=validated),
        )


DATA = Data()


def settings(**changes):
    return BiamConfig(preset="tuned", **({"blocks": [], "classification": "pooled", "scene_units": 4} | changes))


def network(config):
    torch.manual_seed(0)
    built = BIAM.build(config, SIZES)
    put(built, fit(BIAM, config, DATA.fitting()).buffers)
    return built


def given():
    return DATA.regions[:6], DATA.scenes[:6], DATA.words


def unit(values):
    return functional.normalize(values, dim=-1)


def placed(words):
    space = word_space("whitened", DATA.words[:SEEN].double())
    return unit((words.double() - space.centre) @ space.axes).float()


def regions_by_hand(built):
    """The cosine of each label with each region, [image, region, label]."""
    of_training = DATA.regions[:IMAGES].float().flatten(0, -2)
    standard = (DATA.regions[:6].float().flatten(1, 2) - of_training.mean(0)) / of_training.std(0, correction=0)
    fusion = built.regions.fusion
    return unit(standard @ fusion.weight[:, :, 0, 0].T + fusion.bias) @ placed(DATA.words).T


def scene_by_hand(built):
    of_training = DATA.scenes[:IMAGES].float()
    standard = (DATA.scenes[:6].float() - of_training.mean(0)) / of_training.std(0, correction=0)
    scene = built.scene
    return unit(scene.output(scene.hidden(standard).relu())) @ placed(DATA.words).T


@torch.no_grad()
def test_scores_are_the_weighted_sum_of_the_parts_each_by_its_deviation():
    config = settings(region_weight=2.0, scene_weight=0.5, closed_form_weight=0.25, kernel_weight=3.0)
    built = network(config)
    built.scales["regions"].deviation.fill_(0.2)
    built.scales["scene"].deviation.fill_(0.7)
    built.eval()
    closed, kernel = built.closed_form(*given()[1:]), built.kernel(*given()[1:])
    of_validation = DATA.scenes[IMAGES:], DATA.words[:SEEN]
    expected = 2 * regions_by_hand(built).mean(dim=1) / 0.2 + 0.5 * scene_by_hand(built) / 0.7
    expected += 0.25 * closed / built.closed_form(*of_validation).std(correction=0)
    expected += 3 * kernel / built.kernel(*of_validation).std(correction=0)
    torch.testing.assert_close(built(*given()), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_response_maps_and_label_features_are_those_of_the_regions():
    built = network(settings()).eval()
    by_hand = regions_by_hand(built)
    torch.testing.assert_close(built.response_maps(*given()).flatten(2), by_hand.mT, rtol=1e-4, atol=1e-5)
    vectors = built.label_features(*given())
    torch.testing.assert_close((vectors * placed(DATA.words)).sum(dim=2), by_hand.mean(dim=1), rtol=1e-4, atol=1e-5)


def test_the_loss_is_that_of_each_part_and_of_the_lesson():
    config = settings(temperature=0.5, teacher_weight=7.0, scene_dropout=0.0, hidden_dropout=0.0)
    built = network(config).train()
    words, codes = DATA.words[:SEEN], DATA.codes[:6]
    found = loss(BIAM, built(*given()[:2], words), Targets(codes, words, 6, config, TrainConfig()))
    parts = regions_by_hand(built).mean(dim=1)[:, :SEEN], scene_by_hand(built)[:, :SEEN]
    rare = 1 / (DATA.codes[:IMAGES] == 1).sum(dim=0)
    expected = sum(softmax_loss(part / 0.5, codes, rare) for part in parts)
    expected = expected + 7 * (parts[1] - built.closed_form(DATA.scenes[:6], words)).square().mean()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_parts_that_weigh_nothing_are_not_there():
    built = network(settings(scene_weight=0.0, closed_form_weight=0.0, kernel_weight=0.0)).eval()
    assert built.scene is built.closed_form is built.kernel is None
    torch.testing.assert_close(built(*given()), regions_by_hand(built).mean(dim=1), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_blocks_stand_before_the_words():
    built = network(settings(blocks=["rcb", "scb"], channels=4, heads=2)).eval()
    assert built.regions.region_context is not None
    assert built.regions.scene_context is not None
    assert built(*given()).isfinite().all()


OTHERS = {
    **TUNED_OTHERS,
    "joint_size": 9,
    "channels": 8,
    "heads": 4,
    "attention_dropout": 0.6,
    "global_dropout": 0.6,
    "top_k": 3,
    "classification": "region",
    "region_weighting": "sigmoid",
    "scene_weighting": "softmax",
    "grid_side": 2,
}


def behaviour(config):
    """Shapes, the loss of a batch, and scores after it."""
    built, words, codes = network(config).train(), DATA.words[:SEEN], DATA.codes[:6]
    torch.manual_seed(1)
    found = loss(BIAM, built(*given()[:2], words), Targets(codes, words, 6, config, TrainConfig()))
    shapes = {name: tuple(value.shape) for name, value in built.state_dict().items()}
    return shapes, float(found.detach()), built.eval()(*given()).tolist()


@pytest.mark.parametrize("blocks", [(), ("rcb",), ("rcb", "scb")])
@pytest.mark.parametrize("scene_weight", [0.0, 1.0])
@torch.no_grad()
def test_a_setting_changes_the_sum_or_is_in_vain(blocks, scene_weight):
    config = settings(blocks=blocks, scene_weight=scene_weight, channels=4, heads=2, top_k=2)
    before, in_vain = behaviour(config), config.in_vain()
    for key, other in OTHERS.items():
        assert (behaviour(config.model_copy(update={key: other})) == before) == (key in in_vain), key


def test_there_have_to_be_validation_images():
    with pytest.raises(UsageError, match=r"there are no validation images.*split.validation_fraction"):
        fit(BIAM, settings(), DATA.fitting(validated=False))


def test_what_its_closed_form_cannot_choose_by_is_told_in_settings_of_its_own():
    fitting = DATA.fitting()
    alone = replace(
        fitting,
        words=fitting.words[:1],
        reading=lambda names: replace(DATA.fitting(tuple(names)), words=fitting.words[:1]),
    )
    with pytest.raises(UsageError, match=r"there is 1 seen label to choose by.*closed_form_weight=0.*teacher_weight=0"):
        fit(BIAM, settings(), alone)


def test_a_standardised_convolution_is_one_of_the_standardised_map():
    torch.manual_seed(0)
    conv = StandardisedConv(5, 3)
    conv.mean.copy_(torch.rand(5))
    conv.deviation.copy_(0.5 + torch.rand(5))
    image = torch.rand(2, 5, 4, 4)
    standard = (image - conv.mean[:, None, None]) / conv.deviation[:, None, None]
    torch.testing.assert_close(conv(image), functional.conv2d(standard, conv.weight, conv.bias), rtol=1e-5, atol=1e-5)


def test_a_deviation_begins_with_the_first_batch_and_then_follows():
    scale = Scaled()
    first, second = torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 6.0]])
    torch.testing.assert_close(scale(first), first)
    scale.meet(first)
    assert scale.deviation == pytest.approx(1.0)
    scale.meet(second)
    assert scale.deviation == pytest.approx(1.2)
