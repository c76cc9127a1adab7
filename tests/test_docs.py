"""Pages that are made from the code say what the code says."""

from docs import adding, settings


def test_the_page_of_settings_is_up_to_date() -> None:
    assert settings.PATH.read_text(encoding="utf-8") == settings.page(), "run: make docs"


def test_the_pages_on_adding_things_say_what_the_contracts_ask_for() -> None:
    assert adding.PATH.read_text(encoding="utf-8") == adding.page(), "run: make docs"
    assert adding.README.read_text(encoding="utf-8") == adding.readme(), "run: make docs"
