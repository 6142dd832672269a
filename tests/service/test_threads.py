"""Work on threads: results in the order of the items, calls in the order in which they were given."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from service.threads import Behind, in_order


def left() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("colluvium")]


@pytest.mark.parametrize("workers", [1, 4])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    last = threading.Event()

    def work(item: int) -> int:
        if workers > 1 and item == 0:
            assert last.wait(10)  # the first is done after the others
        if item == 3:
            last.set()
        return item * item

    assert list(in_order(work, range(20), workers, ahead=4)) == [item * item for item in range(20)]
    assert left() == []


def test_items_are_asked_for_only_a_few_ahead() -> None:
    asked: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            asked.append(item)
            yield item

    results = in_order(lambda item: item, items(), workers=2, ahead=5)
    assert next(results) == 0
    assert len(asked) == 6
    results.close()
    assert left() == []


def test_an_error_of_the_work_ends_it() -> None:
    def work(item: int) -> int:
        if item == 2:
            raise ArithmeticError("two")
        return item

    results = in_order(work, range(100), workers=2, ahead=3)
    with pytest.raises(ArithmeticError, match="two"):
        list(results)
    assert left() == []


def test_calls_behind_are_made_in_order_and_waited_for() -> None:
    made: list[tuple[int, str]] = []
    with Behind("test") as behind:
        for number in range(50):
            behind.do(lambda one, name: made.append((one, name)), number, name="x")
        behind.finish()
        assert made == [(number, "x") for number in range(50)]
    assert left() == []


def test_what_a_call_behind_raises_comes_back_to_the_caller() -> None:
    with pytest.raises(ArithmeticError, match="three"), Behind("test") as behind:
        behind.do(_raise, "three")
        behind.finish()
    with pytest.raises(ArithmeticError, match="four"), Behind("test") as behind:
        behind.do(_raise, "four")
        for _ in range(10):
            behind.do(lambda: None)
    assert left() == []


def test_the_caller_waits_where_calls_are_not_made_fast_enough() -> None:
    go, given = threading.Event(), []
    with Behind("test") as behind:

        def give() -> None:
            for number in range(20):
                behind.do(go.wait, 10)
                given.append(number)

        giver = threading.Thread(target=give)
        giver.start()
        giver.join(0.2)
        assert len(given) <= 5
        go.set()
        giver.join()
        behind.finish()
    assert len(given) == 20


def test_leaving_early_drops_what_has_not_begun() -> None:
    begun, go, made = threading.Event(), threading.Event(), []

    def first() -> None:
        begun.set()
        go.wait(10)

    with pytest.raises(KeyError), Behind("test") as behind:
        behind.do(first)
        behind.do(made.append, 1)
        assert begun.wait(10)
        threading.Timer(0.05, go.set).start()
        raise KeyError
    assert made == []
    assert left() == []


def _raise(word: str) -> None:
    raise ArithmeticError(word)
