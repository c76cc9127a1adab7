"""Working ahead: order, bound, exceptions, leaving early."""

from collections.abc import Iterator
from threading import Event

import pytest

from pipeline.machine.ahead import ahead


def test_results_come_in_the_order_of_the_items() -> None:
    late = Event()

    def work(item: int) -> int:
        if item == 0:
            assert late.wait(100)
        if item == 3:
            late.set()
        return item * item

    with ahead(work, range(8), threads=2, limit=5) as results:
        assert list(results) == [0, 1, 4, 9, 16, 25, 36, 49]


def test_no_more_items_are_taken_than_the_limit_allows() -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    with ahead(str, items(), threads=3, limit=4) as results:
        assert next(results) == "0"
        assert len(taken) == 4
        assert next(results) == "1"
        assert len(taken) == 5


def test_an_exception_comes_out_where_its_item_stands() -> None:
    with ahead(lambda item: 6 // item, [3, 2, 0, 1], threads=2, limit=4) as results:
        assert [next(results), next(results)] == [2, 3]
        with pytest.raises(ZeroDivisionError):
            next(results)


def test_leaving_early_drops_what_has_not_begun() -> None:
    begun, go_on = [], Event()

    def work(item: int) -> int:
        begun.append(item)
        assert item == 0 or go_on.wait(100)
        return item

    with ahead(work, range(50), threads=1, limit=20) as results:
        assert next(results) == 0
        go_on.set()

    assert len(begun) <= 20
