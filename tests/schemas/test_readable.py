"""Numbers and names as people read them."""

import json
import tomllib

from schemas.readable import duration_text, escaped, hashes_apart, printable, rough_duration_text, size_text


def test_sizes_and_durations_have_the_unit_that_suits_them() -> None:
    assert [size_text(size) for size in (999, 52_900, 8_500_000, 1.88e12)] == ["999 B", "52.9 kB", "8.5 MB", "1.9 TB"]
    assert [rough_duration_text(seconds) for seconds in (99.4, 720, 7200)] == ["99 s", "12 min", "2.0 h"]


def test_what_is_larger_than_all_units_stays_in_the_largest() -> None:
    assert size_text(2e15) == "2000.0 TB"
    assert size_text(2e15, ".3g") == "2e+03 TB"


def test_an_exact_duration_has_two_units_from_a_minute_on() -> None:
    seconds = (0.04, 59.94, 125, 3 * 3600 + 299)
    assert [duration_text(value) for value in seconds] == ["0.0 s", "59.9 s", "2 min 05 s", "3 h 04 min"]


def test_hashes_that_differ_are_shown_so_that_they_differ() -> None:
    assert hashes_apart("a" * 64, "b" * 64) == ("a" * 16 + "...", "b" * 16 + "...")
    late = "a" * 63 + "b"
    assert hashes_apart("a" * 64, late) == ("a" * 64 + "...", late + "...")


def test_what_a_terminal_would_obey_is_written_as_an_escape() -> None:
    assert printable("caf\u00e9 \x1b[31m\0\u202e\n") == "caf\u00e9 \\x1b[31m\\x00\\u202e\\n"
    assert printable("a\tb\nc\x1b", kept="\t\n") == "a\tb\nc\\x1b"


def test_json_and_toml_without_what_a_terminal_would_obey_are_read_as_the_same() -> None:
    text = escaped(json.dumps({"caf\u00e9": "\x9b2J\x7f\udcff\x1b"}, ensure_ascii=False))
    assert text == '{"caf\u00e9": "\\u009b2J\\u007f\\udcff\\u001b"}'
    assert json.loads(text) == {"caf\u00e9": "\x9b2J\x7f\udcff\x1b"}
    assert tomllib.loads(escaped('name = "\x9b2J"')) == {"name": "\x9b2J"}
