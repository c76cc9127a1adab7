"""Another value of each setting that is of BiAM's preset `tuned` alone."""

from typing import Any

TUNED_OTHERS: dict[str, Any] = {
    "similarity": "product",
    "temperature": 0.5,
    "words": "plain",
    "label_weights": "equal",
    "region_weight": 2.0,
    "scene_weight": 0.5,
    "scene_units": 9,
    "scene_dropout": 0.6,
    "hidden_dropout": 0.6,
    "teacher_weight": 7.0,
    "closed_form_weight": 0.0,
    "kernel_weight": 0.0,
}
