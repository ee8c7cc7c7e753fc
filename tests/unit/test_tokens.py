"""Where tokens come from, and that nothing shows one."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support.tokens import BAD_TOKENS, GOOD_TOKENS, TOKEN, shown

from ccactivity.errors import TokenError
from ccactivity.tokens import TokenSource, check_given, source_of


class Own:
    """A source as a user may write one."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def access_token(self) -> str:
        return TOKEN

    async def refused(self, token: str) -> None:
        self.told.append(token)


def counted(tokens: list[str]) -> tuple[Callable[[], Awaitable[str]], list[str]]:
    """An async callable that gives one token after the other, and those that it has given."""
    given_out: list[str] = []

    async def call() -> str:
        given_out.append(tokens[len(given_out)])
        await asyncio.sleep(1)
        return given_out[-1]

    return call, given_out


# --- what a source gives ------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", GOOD_TOKENS)
def test_good_token_of_a_source(token: str) -> None:
    """What a source gave and can be sent is the token, as it is."""
    assert token == check_given(token)


@pytest.mark.parametrize(
    "token",
    [*(pytest.param(case.values[0], id=case.id) for case in BAD_TOKENS), None, 5, b"canary-secret-bytes"],
)
def test_bad_token_of_a_source(token: object) -> None:
    """What a source gave and cannot be sent is a TokenError; neither it nor its chain shows the token."""
    with pytest.raises(TokenError, match="the token source gave something that cannot be sent") as caught:
        check_given(token)

    assert "canary" not in shown(caught.value)
    assert (None, None) == (caught.value.__cause__, caught.value.__context__)


# --- sources ------------------------------------------------------------------------------------------------


async def test_source_of_a_string() -> None:
    """A string is a source that gives it for ever, whoever refuses it."""
    source = source_of(TOKEN)
    tokens = [await source.access_token()]
    await source.refused(TOKEN)
    tokens.append(await source.access_token())

    assert isinstance(source, TokenSource)
    assert [TOKEN, TOKEN] == tokens


@pytest.mark.parametrize("token", ["", "two\nlines"])
def test_string_is_checked_at_once(token: str) -> None:
    """A string that cannot be sent is refused before anything is done with it."""
    with pytest.raises(ValueError, match="the access token"):
        source_of(token)


async def test_callable_is_asked_once() -> None:
    """An async callable is asked when a token is first needed, and not again while its token is good."""
    call, asked = counted(["canary-secret-1", "canary-secret-2"])
    source = source_of(call)
    before = len(asked)
    tokens = [await source.access_token() for _ in range(3)]

    assert isinstance(source, TokenSource)
    assert 0 == before
    assert 1 == len(asked)
    assert ["canary-secret-1"] * 3 == tokens


async def test_callable_is_asked_after_a_report() -> None:
    """When the current token is refused, the callable is asked for another one."""
    call, _ = counted(["canary-secret-1", "canary-secret-2"])
    source = source_of(call)
    await source.refused(await source.access_token())

    assert "canary-secret-2" == await source.access_token()


async def test_late_report() -> None:
    """A refused token that is not current any more is no reason to ask for another one."""
    call, asked = counted(["canary-secret-1", "canary-secret-2"])
    source = source_of(call)
    for _ in range(3):
        await source.refused("canary-secret-1" if asked else await source.access_token())

    assert 2 == len(asked)
    assert "canary-secret-2" == await source.access_token()


async def test_first_token_for_many() -> None:
    """However many ask for the first token at once, the callable is called once: it may be a refresh."""
    call, asked = counted([f"canary-secret-{number}" for number in range(10)])
    source = source_of(call)
    tokens = await asyncio.gather(*(source.access_token() for _ in range(10)))

    assert 1 == len(asked)
    assert ["canary-secret-0"] * 10 == tokens


async def test_callable_that_fails() -> None:
    """What a callable raises reaches the caller, and the next one asks it again."""
    outcomes: list[Any] = [TokenError("the identity provider is down"), TOKEN]

    async def call() -> str:
        if isinstance(outcome := outcomes.pop(0), TokenError):
            raise outcome
        return str(outcome)

    source = source_of(call)
    with pytest.raises(TokenError, match="identity provider"):
        await source.access_token()

    assert TOKEN == await source.access_token()


async def test_failed_refresh() -> None:
    """When asking for another token fails, the current one stays, and the next report asks again."""
    outcomes: list[Any] = ["canary-secret-1", TokenError("the identity provider is down"), "canary-secret-2"]

    async def call() -> str:
        if isinstance(outcome := outcomes.pop(0), TokenError):
            raise outcome
        return str(outcome)

    source = source_of(call)
    await source.access_token()
    with pytest.raises(TokenError, match="identity provider"):
        await source.refused("canary-secret-1")
    kept = await source.access_token()
    await source.refused("canary-secret-1")

    assert ["canary-secret-1", "canary-secret-2"] == [kept, await source.access_token()]


def test_own_source() -> None:
    """A source of the user's own is used as it is."""
    own = Own()

    assert own is source_of(own)


async def test_callable_object() -> None:
    """An object with an async __call__ is an async callable too."""

    class Vault:
        async def __call__(self) -> str:
            return TOKEN

    assert TOKEN == await source_of(Vault()).access_token()


@pytest.mark.parametrize("token", [None, 5, b"canary-secret-bytes", ["canary-secret-list"], object()])
def test_no_source(token: Any) -> None:
    """What is neither a string nor a callable nor a source is a TypeError that does not show it."""
    with pytest.raises(TypeError, match=f"not {type(token).__name__}") as caught:
        source_of(token)

    assert "canary" not in shown(caught.value)


async def test_sources_do_not_show_their_token() -> None:
    """The repr of a source does not show its token, before it is first used or after."""
    call, _ = counted([TOKEN])
    sources = [source_of(TOKEN), source_of(call)]
    before = repr(sources)
    tokens = [await source.access_token() for source in sources]

    assert [TOKEN, TOKEN] == tokens
    assert "canary" not in before + repr(sources) + str(sources)


def test_sources_are_not_pickled() -> None:
    """A source that holds a token does not go into a queue or a cache."""
    for source in (source_of(TOKEN), source_of(counted([])[0])):
        with pytest.raises(TypeError, match="a token source cannot be pickled: it holds a secret"):
            pickle.dumps(source)
