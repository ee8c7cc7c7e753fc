"""Bodies of answers: JSON, any JSON, and nesting that no parser follows."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from ccactivity.api.decoding import Decoder

COUNTERS = (
    "items_total_count",
    "items_completed_count",
    "person_count",
    "error_count",
    "correctable_count",
    "cannot_add_to_list_count",
    "list_count",
)
NESTED = b"[" * 100_000 + b"]" * 100_000

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["1", "75.0", "None", "1e999", "9" * 30, "2016-01-23T13:48:44Z", "2016-01-23T", "+00:00"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.sampled_from(COUNTERS), inner),
    max_leaves=6,
)


def packed(data: Any) -> bytes:
    """The body that holds this."""
    return json.dumps(data).encode()


def noticing_decoder() -> tuple[Decoder, list[tuple[str, object]]]:
    """A decoder, and what it notices."""
    notices: list[tuple[str, object]] = []
    return Decoder(lambda field, value: notices.append((field, value))), notices


QUIET = Decoder(lambda _field, _value: None)
