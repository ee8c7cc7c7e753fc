"""Addresses that are the same are found, also when what is known of them is on the disk."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccactivity.imports import duplicates as module
from ccactivity.imports.duplicates import AddressIndex


@given(st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=12), st.integers(1, 40))
def test_each_row_leads_to_the_next_with_its_address(runs: list[list[int]], most: int) -> None:
    """In whichever portions they come, and wherever they are kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MAX_IN_MEMORY", most)
        index = AddressIndex()
        line = 0
        for run in runs:
            index.add([b"%d" % one for one in run], range(line, line + len(run)))
            line += len(run)
        found = sorted(index.find())
        index.close()

    flat = [one for run in runs for one in run]
    later = {at: at + 1 + flat[at + 1 :].index(one) for at, one in enumerate(flat) if one in flat[at + 1 :]}
    assert sorted(later.items()) == found
