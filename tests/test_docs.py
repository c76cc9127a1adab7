"""Pages that are made from the code say what the code says."""

from docs.settings import PATH, page


def test_the_page_of_settings_is_up_to_date() -> None:
    assert PATH.read_text(encoding="utf-8") == page(), "run: make docs"
