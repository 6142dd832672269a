"""The gate: so many at once, so many waiting, the others are told to come back."""

from __future__ import annotations

import threading

import pytest
from starlette.exceptions import HTTPException

from service.api.gate import Gate


def test_who_finds_no_room_is_told_when_to_try_again() -> None:
    gate = Gate("points", at_once=1, waiting=0)
    with gate.entered():
        with pytest.raises(HTTPException) as refused, gate.entered():
            pass
        assert refused.value.status_code == 503
        assert refused.value.headers == {"Retry-After": "2"}
        assert "points" in refused.value.detail
    with gate.entered():
        pass  # there is room again


def test_who_waits_comes_in_when_a_place_is_free_and_never_more_than_allowed_at_once() -> None:
    gate = Gate("points", at_once=2, waiting=20, patience_s=30)
    inside, most, lock = 0, 0, threading.Lock()
    both = threading.Barrier(2)

    def visit() -> None:
        nonlocal inside, most
        with gate.entered():
            with lock:
                inside += 1
                most = max(most, inside)
            both.wait(30)  # goes on only when two are in
            with lock:
                inside -= 1

    visitors = [threading.Thread(target=visit) for _ in range(12)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join(60)
    assert not any(visitor.is_alive() for visitor in visitors)
    assert most == 2


def test_who_waited_long_enough_is_sent_away_and_leaves_room_behind() -> None:
    gate = Gate("points", at_once=1, waiting=1, patience_s=0.01)
    with gate.entered():
        for _ in range(3):
            with pytest.raises(HTTPException), gate.entered():
                pass


def test_an_error_inside_frees_the_place() -> None:
    gate = Gate("points", at_once=1, waiting=0)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), gate.entered():
            raise ZeroDivisionError
