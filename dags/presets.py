"""Settings that belong together because a paper or a release used them together.

Where the paper and the authors' released code differ, both are here under their own name, as far as they differ from
the defaults of `schemas.config`, which are the release's. Every value can be set singly on top.

Source: BiAM (ICCV 2021), section 3 "Implementation Details"; the released training code.
"""

from typing import Any

# (model, preset) -> settings
PRESETS: dict[tuple[str, str], dict[str, Any]] = {
    ("biam", "paper"): {
        "model": {"channels": 512, "top_k": 10},
        # The learning rate of the paper is not legible in any copy we have; 1e-3 is the release's.
        "train": {"lr": 1e-3, "betas": [0.5, 0.999], "weight_decay": 0.0, "loss": "paper"},
    },
    ("biam", "released"): {"train": {"final_lr": 5e-4}},
}
