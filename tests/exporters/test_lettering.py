from __future__ import annotations

import numpy as np

from exporters.lettering import text_width, wrap, write_text


def canvas() -> np.ndarray:
    return np.zeros((9, 40, 4), np.uint8)


def test_letters_stand_where_they_are_put() -> None:
    picture = canvas()
    write_text(picture, "L1", (1, 2), 1, (9, 8, 7))
    ink = (picture[..., 3] == 255).astype(int)
    assert ink[1:8, 2:7].tolist() == [[1, 0, 0, 0, 0]] * 6 + [[1, 1, 1, 1, 1]]
    assert ink[1:8, 8:13].sum(axis=0).tolist() == [0, 2, 7, 1, 0]
    assert picture[1, 2].tolist() == [9, 8, 7, 255]


def test_each_letter_and_figure_looks_different() -> None:
    seen = set()
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 -.,:%/()?"
    for letter in letters:
        picture = canvas()
        write_text(picture, letter, (0, 0), 1, (255, 255, 255))
        seen.add(picture.tobytes())
    assert len(seen) == len(letters)


def test_small_letters_are_capitals_and_unknown_ones_are_question_marks() -> None:
    for text, same in (("abc", "ABC"), ("é", "?")):
        one, other = canvas(), canvas()
        write_text(one, text, (0, 0), 1, (255, 255, 255))
        write_text(other, same, (0, 0), 1, (255, 255, 255))
        np.testing.assert_array_equal(one, other)


def test_what_reaches_beyond_the_picture_is_left_out() -> None:
    picture = canvas()
    write_text(picture, "WWWWWWWWWWWW", (5, 30), 2, (255, 255, 255))
    assert picture[5:, 30:, 3].any()
    assert not picture[:5].any()


def test_text_is_broken_between_words() -> None:
    assert text_width("ABC", 2) == 34
    assert wrap("stale: 36 days old", text_width("stale: 36", 1), 1) == ["stale: 36", "days old"]
    assert wrap("", 100, 1) == []
    assert wrap("unbreakable word", 5, 1) == ["unbreakable", "word"]
