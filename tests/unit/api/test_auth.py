"""The token of each attempt: a refused one is reported once, and a refresh is waited for."""

from __future__ import annotations

import asyncio

import pytest

from ccactivity._emitter import Emitter
from ccactivity._secret import Secret
from ccactivity.api.auth import Authenticator
from ccactivity.errors import TokenError
from ccactivity.events import Event, TokenRefreshed

OLD, NEW = "canary-secret-old", "canary-secret-new"


class SlowSource:
    """A token source whose refresh takes a while. `reported`: the refused tokens that it was told of."""

    def __init__(self, *, refresh_s: float = 5.0, new: str = NEW, error: Exception | None = None) -> None:
        self.token = OLD
        self.reported: list[str] = []
        self.cancelled = 0
        self._refresh_s = refresh_s
        self._new = new
        self._error = error

    async def access_token(self) -> str:
        return self.token

    async def refused(self, token: str) -> None:
        self.reported.append(token)
        try:
            await asyncio.sleep(self._refresh_s)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self._error is not None:
            raise self._error
        self.token = self._new


def clock() -> float:
    return asyncio.get_running_loop().time()


async def test_a_token_is_a_secret() -> None:
    """The token of an attempt is that of the source, and does not show itself."""
    token = await Authenticator(SlowSource()).token()

    assert (OLD, Secret, "<hidden>") == (token, type(token), repr(token))


async def test_a_token_that_cannot_be_sent() -> None:
    """What the source gave and cannot stand in a header is a TokenError."""
    source = SlowSource()
    source.token = "two\nlines"

    with pytest.raises(TokenError, match="cannot be sent"):
        await Authenticator(source).token()


async def test_a_refused_token_is_reported_once() -> None:
    """However many requests carried it, the source is told once, and all of them learn that there is another one."""
    source = SlowSource()
    auth = Authenticator(source)
    replaced = await asyncio.gather(*(auth.replace(OLD) for _ in range(20)))

    assert [True] * 20 == replaced
    assert ([OLD], 5.0) == (source.reported, clock())


async def test_a_source_that_has_nothing_better() -> None:
    """Where the source gives the same token again, there is no other one."""
    source = SlowSource(new=OLD)

    assert not await Authenticator(source).replace(OLD)
    assert [OLD] == source.reported


async def test_a_source_that_fails() -> None:
    """What the source raises reaches each that reported the token, and the next report asks it again."""
    source = SlowSource(error=TokenError("the identity provider is down"))
    auth = Authenticator(source)
    outcomes = await asyncio.gather(*(auth.replace(OLD) for _ in range(3)), return_exceptions=True)
    with pytest.raises(TokenError, match="identity provider"):
        await auth.replace(OLD)

    assert [TokenError] * 3 == [type(outcome) for outcome in outcomes]
    assert [OLD, OLD] == source.reported


async def test_a_token_is_waited_for_while_it_is_refreshed() -> None:
    """No attempt gets a token that is on its way out."""
    source = SlowSource()
    auth = Authenticator(source)
    refresh = asyncio.ensure_future(auth.replace(OLD))
    await asyncio.sleep(1)
    during = auth.refresh.running
    token = await auth.token()

    assert (True, NEW, 5.0, False) == (during, token, clock(), auth.refresh.running)
    assert await refresh


@pytest.mark.parametrize("error", [None, TokenError("the identity provider is down")])
async def test_waiting_tells_nothing(error: Exception | None) -> None:
    """Who waits for a refresh only learns that it is over; whether it went well is for those who wanted it."""
    auth = Authenticator(SlowSource(error=error))
    await auth.refresh.wait()
    before = clock()
    refresh = asyncio.ensure_future(auth.replace(OLD))
    await asyncio.sleep(1)
    await auth.refresh.wait()
    await asyncio.wait([refresh])

    assert (0.0, 5.0) == (before, clock())
    assert error is refresh.exception()


async def test_a_cancelled_caller_does_not_cancel_the_refresh() -> None:
    """A refresh goes on for the others, even when the one who started it gives up."""
    source = SlowSource()
    auth = Authenticator(source)
    first = asyncio.ensure_future(auth.replace(OLD))
    await asyncio.sleep(1)
    first.cancel()

    assert await auth.replace(OLD)
    assert ([OLD], 0, 5.0) == (source.reported, source.cancelled, clock())


async def test_is_current() -> None:
    """A token is current as long as the source would give it again."""
    auth = Authenticator(SlowSource())
    before = await auth.is_current(OLD), await auth.is_current(NEW)
    await auth.replace(OLD)

    assert (True, False) == before
    assert (False, True) == (await auth.is_current(OLD), await auth.is_current(NEW))


@pytest.mark.parametrize(("refresh_s", "cancelled", "ends_at"), [(5.0, 0, 5.0), (3600.0, 1, 11.0)])
async def test_closing_gives_a_refresh_ten_seconds(refresh_s: float, cancelled: int, ends_at: float) -> None:
    """A refresh under way may end when everything else is closed, for it may bring the only good token; then it is
    cancelled.
    """
    source = SlowSource(refresh_s=refresh_s)
    auth = Authenticator(source)
    refresh = asyncio.ensure_future(auth.replace(OLD))
    await asyncio.sleep(1)
    await auth.aclose()
    closed_at = clock()
    await asyncio.wait([refresh])

    assert (ends_at, cancelled) == (closed_at, source.cancelled)


async def test_closing_without_a_refresh() -> None:
    """Where nothing is refreshed, closing takes no time."""
    await Authenticator(SlowSource()).aclose()

    assert 0.0 == clock()


@pytest.mark.parametrize(
    ("source", "outcome"),
    [
        (SlowSource(), "refreshed"),
        (SlowSource(new=OLD), "unchanged"),
        (SlowSource(error=TokenError("the identity provider is down")), "TokenError"),
    ],
    ids=["refreshed", "unchanged", "failed"],
)
async def test_a_refresh_is_told_once(source: SlowSource, outcome: str) -> None:
    """However many requests wanted it: with the seconds that it took, and what came of it."""
    events: list[Event] = []
    auth = Authenticator(source, Emitter(events.append))
    await auth.token()
    await asyncio.gather(*(auth.replace(OLD) for _ in range(3)), return_exceptions=True)
    await auth.token()

    assert [TokenRefreshed(at=5.0, seconds=5.0, outcome=outcome)] == events
