"""Every setting says what it decides, and recipes are made of those that say so."""

from typing import Literal, get_args, get_origin

import pytest
from annotated_types import Le

from pipeline.datasets import DATASETS as ROOM
from pipeline.models import MODELS
from schemas.config import Config
from schemas.section import Decides, Section, content, explanations, recipe

DATASETS = {name: ROOM.load(name).SETTINGS for name in ROOM.ours}
SECTIONS: dict[str, type[Section]] = {
    name: field.annotation for name, field in Config.model_fields.items() if name not in ("dataset", "model")
} | {f"model ({model})": MODELS.load(model).SETTINGS for model in MODELS}
RECIPES = {
    "download": "max_bytes max_pixels",
    "images": "",
    "backbone": "name weights input_px layers",
    "extract": "precision compile orientation decoder",
    "store": "",
    "embed": "vectors missing overrides",
    "split": "name seed test_fraction validation_fraction",
    "model (biam)": "name preset channels heads joint_size top_k attention_dropout global_dropout classification "
    "blocks region_attention region_weighting region_norm scene_weighting grid_side",
    "model (ridge)": "name preset form feature words strength mixed_labels kernel_width choose_by held_out_folds",
    "model (fast0tag)": "name preset input_norm hidden_sizes dropout",
    "model (labelem)": "name preset input_norm weights",
    "model (sdl)": "name preset input_norm variance_weight unknown mean_negatives feature rows",
    "model (cosine)": "name preset",
    "model (topk_patches)": "name preset top_k global_share",
    "model (conse)": "name preset input_norm mixed_labels",
    "model (logistic)": "name preset input_norm",
    "model (warp)": "name preset input_norm",
    "model (wsabie)": "name preset input_norm joint_size ranks",
    "model (cnn_rnn)": "name preset input_norm label_size state_size most_labels beams steps",
    "model (lesa)": "name preset attentions distribution_weight global_weight span_weight",
    "model (attention_per_label)": "name preset joint_size sampled_labels",
    "model (attention_per_cluster)": "name preset clusters",
    "model (ml2p)": "name preset variance_weight unknown mean_negatives maps groups reading residual shrink",
    "train": "seed precision batch_images epochs lr final_lr warmup_epochs betas weight_decay loss max_positives "
    "validate_every_epochs selection_k patience full_epochs full_lr shuffle_window_blocks",
    "evaluate": "protocol ks draws seed min_coverage examples examples_seed replicates",
    "compare": "",
    "engine": "",
}


@pytest.mark.parametrize("section", [*SECTIONS.values(), *DATASETS.values()])
def test_every_setting_says_what_it_decides(section: type[Section]) -> None:
    for key, field in section.model_fields.items():
        marks = [mark for mark in field.metadata if isinstance(mark, Decides)]
        assert len(marks) == 1, f"declare {section.__name__}.{key} as Recipe[...], Content[...] or Steers[...]"


@pytest.mark.parametrize("section", [*SECTIONS.values(), *DATASETS.values()])
def test_every_setting_is_explained_in_sentences_that_stand_alone(section: type[Section]) -> None:
    said = explanations(section)
    assert list(said) == list(section.model_fields), f"write a docstring below each setting of {section.__name__}"
    for key, field in section.model_fields.items():
        assert said[key][0].isupper(), key
        assert said[key].endswith("."), key
        assert field.default is not None or " null: " in said[key], f"say what null means for {section.__name__}.{key}"
        options = set(get_args(field.annotation)) if get_origin(field.annotation) is Literal else set()
        assert key == "name" or all(option in said[key] for option in options), f"name the options of {key}"
        bounds = {bound.le for bound in field.metadata if isinstance(bound, Le)}
        assert 1.0 not in bounds or "from 0 to 1" in said[key], f"{key} is a fraction, from 0 to 1"


@pytest.mark.parametrize("name", SECTIONS)
def test_a_recipe_holds_the_settings_that_shape_numbers_and_no_other(name: str) -> None:
    section = SECTIONS[name]()
    assert recipe(name, section) == {
        f"{name}.{key}": section.model_dump(mode="json")[key] for key in RECIPES[name].split()
    }
    assert content(name, section) == {}


@pytest.mark.parametrize("name", DATASETS)
def test_a_data_set_s_seed_is_its_recipe_and_all_else_its_content(name: str) -> None:
    section = DATASETS[name]()
    assert recipe("dataset", section) == {"dataset.name": name} | ({"dataset.seed": 0} if name == "demo" else {})
    values = section.model_dump(mode="json")
    later = ("task", "image_column", "labels_column")  # left out while they have their defaults
    others = {f"dataset.{key}": value for key, value in values.items() if key not in ("name", "seed", *later)}
    was = {"dataset.setting": "zero-shot"} if name == "nuswide" else {}  # so that recipes of before keep their digits
    assert content("dataset", section) == others | was
    standard = content("dataset", section.model_copy(update={"task": "standard"}))
    assert standard == others | ({"dataset.setting" if was else "dataset.task": "standard"})
