"""Numbers as people read them."""

from schemas.readable import duration_text, hashes_apart, rough_duration_text, size_text


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
