"""One labels.csv in all the ways in which people and programs spell it: each photograph once, or refused in words."""

from pathlib import Path

import pytest

from benchmarks.spellings import FORMS, ONCE, PATHS, REFUSED, Photographs, made, outcome, spellings

# Those that are understood; all others are refused.
UNDERSTOOD = {
    "as it is", "./a.jpg", "absolute", "x/../a.jpg", "../folder/a.jpg", "backslashes", ".\\a.jpg", "blank at the end",
    "blank at the start", "blank of no break", "letters composed", "letters in parts", "file://", "file://localhost",
    "doubled slashes", "BOM", "CRLF", "CR", "no last line end", "blank lines", "';' between columns",
    "tabs between columns", "'|' between columns", "blanks after ','", "all quoted", "one label a line",
    "every line twice", "header in capitals",
}  # fmt: skip


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Photographs:
    return made(tmp_path_factory.mktemp("spelled") / "photos", 12)


@pytest.mark.parametrize("how", [*PATHS, *FORMS])
def test_each_photograph_is_one_image_or_the_file_is_refused_with_what_is_wrong(
    how: str, photographs: Photographs, tmp_path: Path
) -> None:
    every = dict(spellings(photographs))

    for name in every.keys() & {how, f"{how}, all", f"{how}, one"}:
        found = outcome(photographs, every[name], tmp_path / "labels.csv")
        plain = every[name] == every["as it is, all"]  # a name in which there is nothing to spell so
        assert found.what == (ONCE if how in UNDERSTOOD or plain else REFUSED), (name, found)
        if found.what == REFUSED:
            assert str(tmp_path / "labels.csv") in found.words
            assert "expected" in found.words
