"""The fast form of making values, against the plain form that it has to agree with: `cls(**fields)`."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.bodies import COUNTERS, json_values

from ccactivity.api._drafts import Hook, make_reader
from ccactivity.models import Activity, ActivityStatus, SendRecord

CLASSES: tuple[type[attrs.AttrsInstance], ...] = (Activity, ActivityStatus, SendRecord)
KEYS = {"self_url": "_links", "results_url": "_links"}


def shown(value: Any, _: Any) -> str:
    """A hook whose result is hashable, and tells what it was given."""
    return f"{type(value).__name__} {value!r}"


def hooks_of(cls: type[attrs.AttrsInstance]) -> dict[str, Hook | None]:
    """A hook for each attribute; the id is taken as it is."""
    return {name: None if name == "activity_id" else shown for name in attrs.fields_dict(cls) if name != "raw"}


def plain(cls: type[attrs.AttrsInstance], hooks: Mapping[str, Hook | None], row: dict[str, Any]) -> Any:
    """The value that a reader should make of a row."""
    fields = {name: row.get(KEYS.get(name, name)) for name in hooks}
    fields = {name: value if (hook := hooks[name]) is None else hook(value, None) for name, value in fields.items()}
    return cls(**fields, **({"raw": row} if "raw" in attrs.fields_dict(cls) else {}))


READERS = {cls: make_reader(cls, hooks_of(cls), KEYS) for cls in CLASSES}
names = st.sampled_from([*attrs.fields_dict(Activity), *COUNTERS, *attrs.fields_dict(SendRecord), "_links", "novelty"])
rows = st.builds(lambda row, key: {**row, "activity_id": key}, st.dictionaries(names, json_values), st.text())


@pytest.mark.parametrize("cls", CLASSES)
@given(row=rows)
def test_the_fast_form_agrees_with_the_plain_form(cls: type[attrs.AttrsInstance], row: dict[str, Any]) -> None:
    """Of any row, the reader of a class makes what its constructor would: class, value, hash, repr and raw."""
    made, expected = READERS[cls](row), plain(cls, hooks_of(cls), row)

    assert cls is type(made)
    assert (expected, hash(expected), repr(expected)) == (made, hash(made), repr(made))
    assert row is getattr(made, "raw", row)


@pytest.mark.parametrize("cls", CLASSES)
def test_what_is_missing_is_null(cls: type[attrs.AttrsInstance]) -> None:
    """A key that a row lacks is the same as a null there."""
    nulls = {KEYS.get(name, name): None for name in attrs.fields_dict(cls)} | {"activity_id": "a"}

    assert READERS[cls](nulls) == READERS[cls]({"activity_id": "a"})


@pytest.mark.parametrize("cls", CLASSES)
def test_a_row_is_not_changed(cls: type[attrs.AttrsInstance]) -> None:
    """Reading leaves the row as it was."""
    row = {"activity_id": "a", "count": 5, "novelty": [1]}
    before = copy.deepcopy(row)
    READERS[cls](row)

    assert before == row


@pytest.mark.parametrize("cls", CLASSES)
def test_what_was_made_is_frozen(cls: type[attrs.AttrsInstance]) -> None:
    """A value that was made by the fast form can be copied and pickled, but not be changed, nor get new attributes."""
    made = READERS[cls]({"activity_id": "a"})
    refused = []
    for name in (*attrs.fields_dict(cls), "novelty"):
        try:
            setattr(made, name, 1)
        except AttributeError:
            refused.append(name)

    assert [*attrs.fields_dict(cls), "novelty"] == refused
    assert [made] * 3 == [copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))]


def test_readers_share_nothing() -> None:
    """Two readers of one class with different hooks each use their own."""
    loud, quiet = (
        make_reader(ActivityStatus, dict.fromkeys(COUNTERS, hook), {})
        for hook in (lambda value, _: (value or 0) + 1, lambda value, _: 0)
    )

    assert [6, 0] == [read({"list_count": 5}).list_count for read in (loud, quiet)]
