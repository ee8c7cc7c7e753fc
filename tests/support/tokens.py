"""Tokens that can stand in a header and tokens that cannot, and all that an error shows of itself."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

import ccactivity

PACKAGE = Path(ccactivity.__file__).parent

# Where this is seen in anything that a test makes visible, tests/conftest.py fails the test.
TOKEN = "canary-secret-eyJraWQi.eyJzdWIi.c2lnbmF0dXJl"
TOO_LONG = 16_385

GOOD_TOKENS = [
    pytest.param(TOKEN, id="jwt"),
    pytest.param("a", id="letter"),
    pytest.param("bearer", id="word"),
    pytest.param("BearerOfBadNews", id="words"),
    pytest.param("A-Za-z0-9._~+/=", id="base64"),
    pytest.param("!\"#$%&'()*,:;<>?@[]^`{|}", id="punctuation"),
    pytest.param("\\", id="backslash"),
    pytest.param("x" * (TOO_LONG - 1), id="long"),
]
BAD_TOKENS = [
    pytest.param("", "is empty", id="empty"),
    pytest.param("x" * TOO_LONG, "is longer than 16384 characters", id="long"),
    pytest.param("x" * 10**7, "is longer than 16384 characters", id="file"),
    *(
        pytest.param(TOKEN[:20] + wrong + TOKEN[20:], "holds characters other than printable ASCII", id=ascii(wrong))
        for wrong in ["\n", "\r\nX-Evil: 1", "\t", "\0", " ", "\x7f", "\x85", "\xa0", "é", "\u200b", "\u2028", "\ud800"]
    ),
    pytest.param(f"{TOKEN}\n", "was a line break copied with it", id="line break behind"),
    pytest.param(f" {TOKEN}", "without spaces", id="space before"),
    *(
        pytest.param(wrong, "must come alone: leave out the word Bearer", id=f"with its scheme {number}")
        for number, wrong in enumerate(
            [f"Bearer {TOKEN}", f"bearer  {TOKEN}", f" BEARER\t{TOKEN}\n", f"Authorization: Bearer {TOKEN}"]
        )
    ),
    pytest.param("Bearer ", "without spaces", id="a scheme alone"),
]


def shown(error: BaseException) -> str:
    """All that an error shows of itself, with its chain and the variables of our frames that it has passed, as error
    trackers record them; its traceback's source lines left out.
    """
    parts: list[str] = []
    link: BaseException | None = error
    while link is not None:
        parts += [str(link), repr(link), repr(link.args), repr(vars(link))]
        parts += traceback.format_exception_only(link)
        for frame, _ in traceback.walk_tb(link.__traceback__):
            if Path(frame.f_code.co_filename).is_relative_to(PACKAGE):
                parts += [
                    f"{name} = {_repr(value)} in {frame.f_code.co_name}" for name, value in frame.f_locals.items()
                ]
        link = link.__cause__ or link.__context__
    return "\n".join(parts)


def _repr(value: object) -> str:
    try:
        return repr(value)
    except AttributeError:
        return object.__repr__(value)  # its `__init__` has not come to its end
