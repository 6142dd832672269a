from __future__ import annotations

from datetime import date

import pytest

from service.errors import FactorError
from service.factor_stack import FactorBand
from trainer.vintage import check_vintage, vintage_words

DAYS = [date(2019, 5, 1), date(2021, 7, 1), date(2023, 5, 17)]


def band(name: str, source_date: str | None) -> FactorBand:
    return FactorBand(name, "", False, None, source_date, 0.0, 1.0)


def test_sources_older_than_every_landslide_are_no_problem() -> None:
    assert check_vintage([band("elevation", "2015-07-01"), band("ndvi", "2019-04-30")], DAYS) == ()


def test_a_source_later_than_some_landslides_says_which_date_and_how_many() -> None:
    (problem,) = check_vintage([band("elevation", "2015-07-01"), band("ndvi", "2021-06-30")], DAYS)
    assert (problem.factor, problem.source_date, problem.not_after) == ("ndvi", date(2021, 6, 30), 1)
    assert problem.words == (
        "ndvi: its source is of 2021-06-30, and 1 of 3 landslides were earlier: it may show their scars"
    )


def test_a_source_of_the_landslides_own_day_does_not_predate_it() -> None:
    (problem,) = check_vintage([band("land_use", "2021-07-01")], DAYS)
    assert problem.not_after == 2


def test_a_source_without_a_date_may_show_every_landslide() -> None:
    (problem,) = check_vintage([band("land_use", None)], DAYS)
    assert (problem.source_date, problem.not_after, problem.events) == (None, 3, 3)
    assert "does not say of which day" in problem.words


def test_the_factors_of_one_source_are_said_in_one_sentence() -> None:
    bands = [band("elevation", "2022-01-01"), band("slope", "2022-01-01"), band("ndvi", None)]
    words = vintage_words(check_vintage(bands, DAYS))
    assert [sentence.split(":")[0] for sentence in words] == ["elevation, slope", "ndvi"]


def test_a_source_date_that_is_no_day_is_refused() -> None:
    with pytest.raises(FactorError, match="ndvi has the source date 'summer 2021'"):
        check_vintage([band("ndvi", "summer 2021")], DAYS)
