"""What a task tells is heard where somebody listens, now and then, and its last word always."""

import threading

import pytest

from pipeline.machine.telling import TELL_EVERY_S, counted, heard_by, tell, throttled

Words = list[tuple[int, int | None, str]]


def test_where_nobody_listens_nothing_happens() -> None:
    tell(1, 2, "one of two")


def test_an_inner_block_hears_instead_of_the_outer_one_and_no_other_thread_is_heard() -> None:
    outer: Words = []
    inner: Words = []
    with heard_by(lambda *words: outer.append(words)):
        with heard_by(lambda *words: inner.append(words)):
            tell(1, None, "within")
        tell(2, 9, "after")
        other = threading.Thread(target=tell, args=(3, 9, "elsewhere"))
        other.start()
        other.join()
    assert (inner, outer) == ([(1, None, "within")], [(2, 9, "after")])


def test_a_throttled_channel_is_told_every_half_second_at_most_and_what_came_last() -> None:
    now_s = 100.0
    heard: list[int] = []
    with throttled(lambda done, *_: heard.append(done), lambda: now_s) as channel:
        for done in range(60):
            channel(done, None, "")
            now_s += TELL_EVERY_S / 16
        assert heard == [0, 16, 32, 48]
    assert heard == [0, 16, 32, 48, 59]


def test_that_all_is_done_goes_through_at_once_and_nothing_is_told_twice() -> None:
    heard: Words = []
    with throttled(lambda *words: heard.append(words), lambda: 7.0) as channel:
        for done in range(1, 5):
            channel(done, 4, "steps")
        assert heard == [(1, 4, "steps"), (4, 4, "steps")]
    assert len(heard) == 2


def test_a_task_that_tells_nothing_sends_nothing() -> None:
    heard: Words = []
    with throttled(lambda *words: heard.append(words)) as channel, heard_by(channel):
        pass
    assert heard == []


@pytest.mark.parametrize(
    ("done", "total", "text"),
    [
        (512, 1024, "512 of 1,024 rows"),
        (512, None, "512 rows"),
        (3_240_000, 9_000_000, "3.2 of 9.0 million rows"),
        (0, 1_000_000, "0.0 of 1.0 million rows"),
        (12_000_000, None, "12.0 million rows"),
    ],
)
def test_large_numbers_are_told_in_millions(done: int, total: int | None, text: str) -> None:
    assert counted(done, total, "rows") == text
