"""What must not be seen, and what a token must look like."""

from __future__ import annotations

import copy
import logging
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tokens import BAD_TOKENS, GOOD_TOKENS, TOKEN, shown

from ccactivity._secret import Secret, check_token

# --- secrets --------------------------------------------------------------------------------------------------------


def test_a_secret_is_the_string_it_holds() -> None:
    """A secret is sent, compared and stored as the string that it is; only its repr hides it."""
    secret = Secret(TOKEN)

    assert (TOKEN, f"Bearer {TOKEN}", hash(TOKEN)) == (secret, f"Bearer {secret}", hash(secret))
    assert "[<hidden>, {'token': <hidden>}]" == repr([secret, {"token": secret}])
    assert [TOKEN] * 3 == [copy.copy(secret), copy.deepcopy(secret), pickle.loads(pickle.dumps(secret))]


def test_a_secret_in_a_log_record(caplog: pytest.LogCaptureFixture) -> None:
    """A secret that is an argument of a log message, shown by its repr, is hidden."""
    logging.getLogger("ccactivity").debug("%s", [Secret(TOKEN)])

    assert ["[<hidden>]"] == [record.getMessage() for record in caplog.records]


# --- which tokens can be sent ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", GOOD_TOKENS)
def test_good_token(token: str) -> None:
    """Whatever can stand in a header is a token, as it is."""
    assert token == check_token(token)


@pytest.mark.parametrize(("token", "problem"), BAD_TOKENS)
def test_bad_token(token: str, problem: str) -> None:
    """A token that cannot stand in a header is a ValueError that says why and does not show it."""
    with pytest.raises(ValueError, match=problem) as caught:
        check_token(token)

    assert TOKEN[:20] not in shown(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "token", [None, 5, b"canary-secret-bytes", ["canary-secret-list"], {"token": "canary-secret-x"}]
)
def test_token_of_wrong_type(token: object) -> None:
    """A token that is no string is a TypeError that names its type and does not show it."""
    with pytest.raises(TypeError, match=f"must be a str, not {type(token).__name__}") as caught:
        check_token(token)

    assert "canary" not in shown(caught.value)


@given(token=st.text(st.characters()))
def test_any_token(token: str) -> None:
    """A string is refused, or can be sent in a header as it is."""
    try:
        checked = check_token(token)
    except ValueError:
        return

    assert token == checked
    assert all("!" <= character <= "~" for character in checked)
