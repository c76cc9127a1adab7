"""Settings of other sections that suit the data set `albums`: few pictures, so that a model of few weights does."""

SETTINGS = {
    "model": {"name": "linear"},
    "train": {"epochs": 5, "batch_images": 8},
    "evaluate": {"protocol": "best-one"},
}
