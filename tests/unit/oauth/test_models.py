"""Records and accounts as values: the stored format, what is refused, and what is never shown."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from support.logins import FULL_RECORD, RECORD

from ccactivity import TokenStoreError
from ccactivity.oauth import StoredTokens


def test_a_record_shows_no_secret() -> None:
    """Neither its repr nor that of its text does; the text itself is for a store."""
    text = RECORD.to_json()

    assert "canary" not in repr(RECORD) + repr(text) + repr(FULL_RECORD) + repr([RECORD])
    assert "canary-secret-refresh" == json.loads(text)["refresh_token"]
    assert StoredTokens.from_json(text) == RECORD == StoredTokens.from_json(text.encode())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@given(name=st.sampled_from(sorted(json.loads(FULL_RECORD.to_json()))), value=JSON)
def test_any_wrong_field_is_an_error_of_the_family(name: str, value: object) -> None:
    """A stored record that somebody edited is read or refused, and nothing else happens."""
    text = json.dumps({**json.loads(FULL_RECORD.to_json()), name: value})

    try:
        record = StoredTokens.from_json(text)
    except TokenStoreError as error:
        chain = (error.__cause__, error.__context__)
    else:
        chain = (None, None)
        assert record.version >= 1
    assert (None, None) == chain
