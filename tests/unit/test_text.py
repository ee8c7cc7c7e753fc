"""Text from outside, made fit for a log, a terminal or an error message."""

from __future__ import annotations

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccactivity._text import describe_json, escape


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("Forbidden", "Forbidden"),
        ("Größe 5 €", "Größe 5 €"),
        ("two\nlines\r\n", "two\\nlines\\r\\n"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\x00\ud800", "\\x00\\ud800"),
        ("12345678901234567890", "12345678901234567890"),
        ("12345678901234567890!", "12345678901234567890..."),
    ],
)
def test_escape(text: str, escaped: str) -> None:
    """What could confuse a terminal is escaped, what is printable stays, and the end is cut off."""
    assert escaped == escape(text, 20)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [("Größe 5 €", "Gr\\xf6\\xdfe 5 \\u20ac"), ("\U0001f600", "\\U0001f600"), ("plain", "plain"), ("a\nb", "a\\nb")],
)
def test_escape_for_an_ascii_terminal(text: str, escaped: str) -> None:
    """For a terminal that shows nothing else, all that is not ASCII is escaped."""
    assert escaped == escape(text, ascii_only=True)


def test_escape_without_a_limit() -> None:
    """Without a limit nothing is cut off."""
    assert "x" * 100_000 == escape("x" * 100_000)


@given(text=st.text(st.characters()), limit=st.integers(0, 50), ascii_only=st.booleans())
def test_escape_anything(text: str, limit: int, ascii_only: bool) -> None:
    """What is escaped can be printed, written as UTF-8 (or ASCII), and is bounded."""
    escaped = escape(text, limit, ascii_only=ascii_only)

    assert escaped.isprintable()
    assert escaped == escaped.encode("ascii" if ascii_only else "utf-8").decode()
    assert len(escaped) <= limit * 10 + 3


def nested(kind: type) -> object:
    """A value nested deeper than any repr can go."""
    return reduce(lambda inner, _: [inner] if kind is list else {"a": inner}, range(10**5), object())


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("two\nlines", "'two\\nlines'"),
        ("x" * 10**7, "'" + "x" * 19 + "..."),
        (5, "5"),
        (None, "None"),
        (1.5, "1.5"),
        (True, "True"),
        ([], "an array of 0"),
        ([[["x"]], 2], "an array of 2"),
        ({"a": {"b": "x"}}, "an object of 1"),
        (nested(list), "an array of 1"),
        (nested(dict), "an object of 1"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_describe_json(value: object, shown: str) -> None:
    """What has parts is named with their number, however deep they are nested; the rest is shown, escaped and cut."""
    assert shown == describe_json(value, 20)
