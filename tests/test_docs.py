"""Pages that are made from the code say what the code says."""

import re
from pathlib import Path

from docs import adding, settings
from pipeline.settings.comparison import comparison
from pipeline.settings.layers import configuration, user_layers


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


def test_the_rows_of_a_comparison_that_pages_give_as_examples_are_rows(tmp_path: Path) -> None:
    file = tmp_path / "biam-pipe.toml"
    told = settings.PATH.with_name("compare.md").read_text(encoding="utf-8")
    file.write_text(re.findall(r"```toml\n(.*?)```", told, re.DOTALL)[0], encoding="utf-8")
    found = comparison(user_layers("demo", file, {}, (), tmp_path))
    assert [row.variant.title for row in found.rows[:3]] == ["biam", "lesa", "regions alone"]

    example = re.findall(r"such as (\{name = .*\})\. \|", settings.PATH.read_text(encoding="utf-8"))[0]
    found = comparison(user_layers("demo", None, {}, (f"compare.variants=[{example}]",), tmp_path))
    assert found.rows[0].variant.title == "regions alone"
