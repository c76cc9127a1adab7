"""Settings that belong together because a paper or a release used them together.

Where the paper and the authors' released code differ, both are here under their own name. Every value can be set
singly on top. Source: BiAM (ICCV 2021), section 3 "Implementation Details"; the released training code.
"""

from typing import Any

# (model, preset) -> settings
PRESETS: dict[tuple[str, str], dict[str, Any]] = {
    ("biam", "paper"): {
        "model": {"channels": 512, "heads": 8, "top_k": 10},
        # The learning rate of the paper is not legible in any copy we have; 1e-3 is the release's.
        "train": {"lr": 1e-3, "betas": [0.5, 0.999], "weight_decay": 0.0, "loss": "paper", "warmup_epochs": 3},
    },
    ("biam", "released"): {
        "model": {"channels": 256, "heads": 8, "top_k": 6, "attention_dropout": 0.1, "global_dropout": 0.2},
        "train": {
            "lr": 1e-3,
            "final_lr": 5e-4,
            "betas": [0.9, 0.999],
            "weight_decay": 5e-4,
            "loss": "released",
            "warmup_epochs": 3,
        },
    },
}
