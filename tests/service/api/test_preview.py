"""The picture of a view: the map where it is, and words that say how far to trust it."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest

from exporters.layer import CLASS_COLOURS
from service.api.preview import Words, fit, words_of
from service.api.site import Site
from tests.fix_region import NOW, ToyRegion
from tests.fix_site import decode, layers_of, site_of

DAY = date(2026, 3, 5)
ALARM, CALM = [176, 0, 32, 255], [38, 50, 56, 255]


def words(toy: ToyRegion, index: int = -1) -> Words:
    return words_of(Site(toy.settings, toy.clock, None), layers_of(toy)[index])


def test_the_picture_has_the_size_that_was_asked_for_and_shows_the_map(published: ToyRegion) -> None:
    http = site_of(published)

    for shows in ("class", "susceptibility"):
        answer = http.get(f"/preview.png?width=500&height=300&shows={shows}")
        assert answer.headers["content-type"] == "image/png"
        picture = decode(answer.content)
        assert picture.shape == (300, 500, 4)
        assert (picture[..., 3] == 255).all()
        middle = picture[100:200, 200:300, :3].astype(int)
        # Colours from yellow to red over relief; the paper around is grey.
        assert (middle[..., 0] - middle[..., 2] > 20).mean() > 0.5
        assert np.ptp(picture[150, 5, :3].astype(int)) == 0


def test_the_key_shows_the_colours_of_the_classes(published: ToyRegion) -> None:
    picture = decode(site_of(published).get("/preview.png?width=600&height=400").content)
    foot = {tuple(colour) for colour in picture[-20:, :, :3].reshape(-1, 3).tolist()}
    assert set(CLASS_COLOURS) <= foot


def test_the_words_are_drawn_and_differ_by_what_they_say(changing: ToyRegion) -> None:
    http = site_of(changing)
    before = decode(http.get("/preview.png?day=2026-03-04&width=600").content)
    after = decode(http.get("/preview.png?day=2026-03-05&width=600").content)
    assert ((before[:15] == 255).all(axis=-1)).sum() > 50  # white dots on the band
    assert not np.array_equal(before[:15], after[:15])


def test_a_view_elsewhere_is_empty_paper(published: ToyRegion) -> None:
    picture = decode(site_of(published).get("/preview.png?bbox=50,10,51,11&width=300&height=300").content)
    assert np.unique(picture[100:200].reshape(-1, 4), axis=0).tolist() == [[225, 225, 225, 255]]


def test_it_says_in_words_that_the_map_is_stale_held_degraded_or_synthetic(changing: ToyRegion) -> None:
    changing.clock.now = NOW.replace(day=5)
    assert words(changing).text == "2026-03-05: complete, coverage 100 %. synthetic: no real place"
    assert words(changing, 0).text.startswith("2026-03-04: complete")
    changing.clock.now = NOW + timedelta(days=30)
    assert "stale: 36 days old" in words(changing).text
    assert words(changing).alarm
    # An older day is not stale: it is shown as what it is.
    assert "stale" not in words(changing, 0).text
    with changing.ledger() as ledger:
        ledger.write_act("hold", "toy", "tester", "gauges moved")
    assert "held: no newer map is published" in words(changing).text


def test_only_what_asks_for_care_is_red(changing: ToyRegion) -> None:
    text = changing.config.read_text("utf-8")
    changing.config.write_text(text.replace("synthetic = true", "synthetic = false"), "utf-8")
    changing.clock.now = NOW.replace(day=6)
    changing.refresh(DAY + timedelta(days=1))

    def band() -> list[int]:
        picture = decode(site_of(changing).get("/preview.png?width=400").content)
        colour: list[int] = picture[0, 0].tolist()
        return colour

    assert words(changing) == Words("2026-03-06: complete, coverage 100 %", alarm=False)
    assert band() == CALM
    changing.clock.now = NOW.replace(day=8)
    assert band() == ALARM


def test_it_is_drawn_again_only_when_something_changed(changing: ToyRegion) -> None:
    http = site_of(changing)
    tag = http.get("/preview.png?width=300").headers["etag"]
    assert http.get("/preview.png?width=300", headers={"If-None-Match": tag}).status_code == 304
    changing.clock.now += timedelta(days=1)  # older by a day, and it says so
    assert http.get("/preview.png?width=300", headers={"If-None-Match": tag}).status_code == 200


def test_a_withdrawn_day_has_no_picture(changing: ToyRegion) -> None:
    with changing.ledger() as ledger:
        ledger.withdraw(layers_of(changing)[-1], "tester", "wrong rain", [])
    assert site_of(changing).get("/preview.png?day=2026-03-05").status_code == 410


def test_a_view_keeps_its_middle_and_takes_the_shape_of_the_picture() -> None:
    left, bottom, right, top = fit((10, 0, 11, 1), (200, 400))
    assert (right - left) / (top - bottom) == pytest.approx(2)
    assert abs((left + right) / 2 - 10.5 / 180 * 20_037_508.342789244) < 1e-6
    assert top - bottom > 111_000
