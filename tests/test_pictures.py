"""The pictures of README.md and docs/: what they are of, and that they load nothing."""

from __future__ import annotations

import re

import pytest
from support.benchmarks import load

pictures = load("pictures")
NAMES = ["economy-dark.svg", "economy-light.svg", "live-dark.svg", "live-light.svg"]
NAMES += ["planner-dark.svg", "planner-light.svg"]


def test_the_pictures_show_what_would_be_drawn_now() -> None:
    """Every time the same bytes; if a picture is out of date, `nox -s pictures` draws it again."""
    drawn = pictures.draw_all()
    committed = {name: (pictures.FOLDER / name).read_text(encoding="utf-8") for name in NAMES}

    assert NAMES == sorted(drawn)
    assert [] == [name for name in NAMES if drawn[name] != committed[name]], "run `nox -s pictures`"


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_loads_nothing(name: str) -> None:
    """It has no font, style, script or picture from elsewhere: a page that shows it tells nobody."""
    text = (pictures.FOLDER / name).read_text(encoding="utf-8")

    assert text.startswith('<svg xmlns="http://www.w3.org/2000/svg" ')
    assert ["http://www.w3.org/2000/svg"] == re.findall(r"\w+://[^\s\"]*", text)
    assert None is re.search(r"@import|@font-face|url\(|href|<script|<image|<foreignObject", text)


def test_a_dark_and_a_light_picture_differ_in_colours_alone() -> None:
    """Whoever sees one of them has seen the other."""
    texts = {name: (pictures.FOLDER / name).read_text(encoding="utf-8") for name in NAMES}
    bare = {name: re.sub(r"#[0-9a-f]{6}", "", text) for name, text in texts.items()}

    for kind in ("economy", "live", "planner"):
        assert bare[f"{kind}-dark.svg"] == bare[f"{kind}-light.svg"]
        assert texts[f"{kind}-dark.svg"] != texts[f"{kind}-light.svg"]
