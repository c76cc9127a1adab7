"""Pages that are made from the code say what the code says."""

from pathlib import Path

from docs import adding, settings
from pipeline.settings.layers import configuration


def test_the_page_of_settings_is_up_to_date() -> None:
    assert settings.PATH.read_text(encoding="utf-8") == settings.page(), "run: make docs"


def test_the_pages_on_adding_things_say_what_the_contracts_ask_for() -> None:
    assert adding.PATH.read_text(encoding="utf-8") == adding.page(), "run: make docs"
    assert adding.README.read_text(encoding="utf-8") == adding.readme(), "run: make docs"


def test_the_settings_of_the_demo_with_real_weights_are_settings(tmp_path: Path) -> None:
    config = configuration(None, settings.PATH.with_name("demo-real.toml"), {}, (), tmp_path)

    assert (config.dataset.name, config.backbone.name, config.backbone.weights) == (
        "demo",
        "efficientnet_lite0",
        "default",
    )
    assert config.embed.vectors == "glove-6b-50d"
