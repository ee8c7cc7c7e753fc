"""The family of errors: its shape, its data, and that an error survives a process boundary."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccactivity import errors
from ccactivity.errors import (
    ActivityExpiredError,
    ActivityFailedError,
    AuthenticationError,
    BadRequestError,
    BatchError,
    BodyTooLargeError,
    CCActivityError,
    DecodeError,
    FleetUnavailableError,
    ImportRefusedError,
    JournalError,
    LoginFailedError,
    NotFoundError,
    NotSentError,
    PagingError,
    PermissionDeniedError,
    QueueFullError,
    QuotaExceededError,
    ReauthorizationRequiredError,
    ResponseError,
    ServerError,
    SessionClosedError,
    SubmissionUnknownError,
    ThrottledError,
    TokenError,
    TokenStoreError,
    TransportError,
    UnsafeLinkError,
    UntrustedServerError,
    WatchTimeoutError,
)
from ccactivity.jobs import DeleteLists
from ccactivity.models import Activity, ActivityState

FAILED = Activity(
    activity_id="04fe9a",
    state=ActivityState.FAILED,
    activity_errors=("Line 2: Invalid birthday", "Line 9: No email"),
    raw={"state": "failed", "novelty": [1, {"deep": None}]},
)
MIDNIGHT = datetime(2026, 1, 2, tzinfo=UTC)


def missing(activity_id: str = "04fe9a") -> NotFoundError:
    return NotFoundError(status=404, method="GET", path=f"/v3/activities/{activity_id}")


def response(kind: type[ResponseError], status: int) -> ResponseError:
    return kind(
        status=status,
        method="GET",
        path="/v3/activities",
        error_key="some.key",
        error_message="Some words",
        request_id="a1b2",
        hint="do this",
    )


def a_batch() -> tuple[BatchError, NotFoundError, WatchTimeoutError]:
    gone, late = missing("gone"), WatchTimeoutError("late", FAILED, 1)
    return BatchError.of({"gone": gone, "late": late}), gone, late


PICKLED_BEFORE = (  # by 0.1.0 as of 2026-11-22, in which each error stood in `errors`
    b"\x80\x04\x95\xa7\x00\x00\x00\x00\x00\x00\x00\x8c\x11ccactivity.errors\x94\x8c\x08_rebuild\x94\x93\x94h\x00"
    b"\x8c\x11WatchTimeoutError\x94\x93\x94\x8c/activity 'a' did not end within 3 s, never seen\x94\x85\x94}\x94("
    b"\x8c\x0bactivity_id\x94\x8c\x01a\x94\x8c\x08activity\x94N\x8c\x07timeout\x94G@\x08\x00\x00\x00\x00\x00\x00u\x87"
    b"\x94R\x94."
)


def test_an_error_that_was_pickled_before_loads() -> None:
    """An error from a queue that an earlier version filled is the same error."""
    error = pickle.loads(PICKLED_BEFORE)

    assert WatchTimeoutError is type(error)
    assert ("a", None, 3.0) == (error.activity_id, error.activity, error.timeout)
    assert "activity 'a' did not end within 3 s, never seen" == str(error)


@pytest.mark.parametrize("name", ["NotSentError", "UntrustedServerError", "BodyTooLargeError"])
def test_an_error_that_was_pickled_before_it_was_public_loads(name: str) -> None:
    """These were defined where replies are classified; an error from a queue that names them there is the same one."""
    assert getattr(errors, name) is pickle.loads(f"cccactivity.api.outcome\n{name}\n.".encode())


EXAMPLES: list[CCActivityError] = [
    CCActivityError("anything"),
    TransportError("reset", method="GET", path="/v3/activities"),
    NotSentError("connection refused", method="GET", path="/v3/activities"),
    UntrustedServerError("bad certificate", method="GET", path="/v3/activities"),
    response(ResponseError, 422),
    response(BadRequestError, 400),
    response(AuthenticationError, 401),
    response(PermissionDeniedError, 403),
    missing(),
    response(ThrottledError, 429),
    response(QueueFullError, 429),
    response(ServerError, 503),
    QuotaExceededError("spent", resets_at=MIDNIGHT),
    DecodeError("no JSON", status=201, excerpt="'<html>'", method="GET", path="/v3/activities"),
    DecodeError("no JSON"),
    BodyTooLargeError("a body of more than 8 MiB", method="GET", path="/v3/activities"),
    SubmissionUnknownError(DeleteLists(list_ids=["a"]), since=MIDNIGHT, candidates=[FAILED], reason="reset"),
    SubmissionUnknownError(DeleteLists(list_ids=["a"]), since=MIDNIGHT, listed=False, reason="reset"),
    UnsafeLinkError("it is not a string", link="5"),
    PagingError("a circle"),
    ActivityFailedError(FAILED),
    ActivityExpiredError(FAILED),
    WatchTimeoutError("04fe9a", FAILED, 2.5),
    WatchTimeoutError("04fe9a", None, 60),
    BatchError.of({"04fe9a": missing(), "b": WatchTimeoutError("b", FAILED, 1), "c": ActivityExpiredError(FAILED)}),
    BatchError.of({"outer": BatchError.of({"inner": missing("inner")})}),
    TokenError("no token"),
    LoginFailedError("declined", reason="denied"),
    ReauthorizationRequiredError("log in again", reason="interrupted", since=MIDNIGHT),
    TokenStoreError("garbage"),
    SessionClosedError("closed"),
    FleetUnavailableError("the engine is away", reason="reset"),
    ImportRefusedError("line 3: no address", count=4),
    JournalError("the journal is used by another import now", path="import.journal"),
]

COPIES: list[Any] = [
    *(
        pytest.param(lambda error, n=n: pickle.loads(pickle.dumps(error, n)), id=f"pickle-{n}")
        for n in range(pickle.HIGHEST_PROTOCOL + 1)
    ),
    pytest.param(copy.copy, id="copy"),
    pytest.param(copy.deepcopy, id="deepcopy"),
]


def told(value: Any) -> Any:
    """Whatever an error tells, in a form that can be compared: errors are only equal to themselves."""
    if isinstance(value, BaseException):
        return (
            type(value),
            str(value),
            told(value.args),
            told(vars(value)),
            told(getattr(value, "exceptions", ())),
        )
    if isinstance(value, Activity):
        return value, value.raw
    if isinstance(value, dict):
        return {key: told(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [told(item) for item in value]
    return value


def drawn_tree() -> dict[str, str | None]:
    """The parent of each error, as the docstring of the module draws it."""
    tree: dict[str, str | None] = {"CCActivityError": None}
    above = ["CCActivityError"]
    for line in (errors.__doc__ or "").splitlines():
        if found := re.fullmatch(r"    ((?:[│ ]   )*)[├└]── (\w+)\s.*", line):
            depth = len(found[1]) // 4 + 1
            above[depth:] = [found[2]]
            tree[found[2]] = above[depth - 1]
    return tree


def real_tree() -> dict[str, str | None]:
    """The parent of each error within the family, as Python has it."""
    return {
        name: next((base.__name__ for base in kind.__bases__ if issubclass(base, CCActivityError)), None)
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, BaseException)
    }


def test_tree_in_docstring() -> None:
    """The tree that the module's docstring draws is the tree there is."""
    assert drawn_tree() == real_tree()


def test_family_is_public() -> None:
    """Every error of the tree is exported, and has an example in the tests below."""
    assert set(drawn_tree()) == set(errors.__all__)
    assert set(errors.__all__) == {type(error).__name__ for error in EXAMPLES}


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("duplicate", COPIES)
def test_copies(error: CCActivityError, duplicate: Callable[[CCActivityError], CCActivityError]) -> None:
    """Pickling and copying keep an error's type, message, arguments and every attribute."""
    copied = duplicate(error)

    assert copied is not error
    assert told(error) == told(copied)


@pytest.mark.parametrize("error", [missing(), a_batch()[0]], ids=["single", "batch"])
@pytest.mark.parametrize("duplicate", COPIES)
def test_copies_keep_notes(error: CCActivityError, duplicate: Callable[[BaseException], BaseException]) -> None:
    """A note that somebody added travels with the error."""
    noted = copy.deepcopy(error)
    noted.add_note("while importing the spring list")

    assert ["while importing the spring list"] == duplicate(noted).__notes__


@pytest.mark.parametrize("duplicate", COPIES)
def test_copied_batch(duplicate: Callable[[BatchError], BatchError]) -> None:
    """In the copy of a batch's error, what the mapping holds and what the group holds are the same errors."""
    copied = duplicate(BatchError.of({"a": missing("a"), "b": missing("b")}))

    assert [id(error) for error in copied.exceptions] == [id(error) for error in copied.errors.values()]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            TransportError("connection refused", method="GET", path="/v3/activities"),
            "GET /v3/activities: connection refused",
        ),
        (missing(), "GET /v3/activities/04fe9a: HTTP 404"),
        (response(BadRequestError, 400), "GET /v3/activities: HTTP 400, some.key: Some words (do this)"),
        (
            ResponseError(status=405, method="GET", path="/x", error_message="Not allowed"),
            "GET /x: HTTP 405, Not allowed",
        ),
        (
            AuthenticationError(
                status=401, method="GET", path="/x", error_key="unauthorized", error_message="Unauthorized", hint="why"
            ),
            "GET /x: HTTP 401, Unauthorized (why)",
        ),
        (
            ThrottledError(
                status=429, method="GET", path="/x", error_key="too_many", error_message="Too many requests"
            ),
            "GET /x: HTTP 429, too_many: Too many requests",
        ),
        (DecodeError("no JSON"), "no JSON"),
        (
            DecodeError("no JSON", excerpt="'<html>'", method="GET", path="/x"),
            "GET /x: no JSON; it begins '<html>'",
        ),
        (UnsafeLinkError("it leads away", link="//evil"), "unsafe link, not followed: it leads away (//evil)"),
        (
            ActivityFailedError(FAILED),
            "activity '04fe9a' ended as 'failed': 'Line 2: Invalid birthday; Line 9: No email'",
        ),
        (
            ActivityFailedError(Activity(activity_id="a", state=ActivityState.TIMED_OUT)),
            "activity 'a' ended as 'timed_out'",
        ),
        (
            ActivityExpiredError(FAILED),
            "activity '04fe9a' no longer exists (the API keeps one for 10 days); last seen as 'failed'",
        ),
        (WatchTimeoutError("a", None, 60), "activity 'a' did not end within 60 s, never seen"),
        (WatchTimeoutError("a", FAILED, 0.5), "activity 'a' did not end within 0.5 s, last seen as 'failed'"),
    ],
)
def test_message(error: CCActivityError, message: str) -> None:
    """A message says what was asked, what came of it, and what the vendor said."""
    assert message == str(error)


@pytest.mark.parametrize(
    ("error", "data"),
    [
        (
            TransportError("reset", method="GET", path="/x"),
            {"reason": "reset", "method": "GET", "path": "/x"},
        ),
        (
            response(PermissionDeniedError, 403),
            {
                "status": 403,
                "method": "GET",
                "path": "/v3/activities",
                "error_key": "some.key",
                "error_message": "Some words",
                "request_id": "a1b2",
                "hint": "do this",
            },
        ),
        (missing(), {"error_key": None, "error_message": None, "request_id": None, "hint": None}),
        (QuotaExceededError("spent", resets_at=MIDNIGHT), {"resets_at": MIDNIGHT}),
        (
            DecodeError("no JSON", status=302, excerpt="'x'"),
            {"problem": "no JSON", "status": 302, "excerpt": "'x'", "method": None, "path": None},
        ),
        (UnsafeLinkError("it is bad", link="//evil"), {"problem": "it is bad", "link": "//evil"}),
        (ActivityFailedError(FAILED), {"activity": FAILED}),
        (ActivityExpiredError(FAILED), {"activity": FAILED}),
        (
            WatchTimeoutError("a", FAILED, 2.5),
            {"activity_id": "a", "activity": FAILED, "timeout": 2.5},
        ),
    ],
)
def test_data(error: CCActivityError, data: dict[str, Any]) -> None:
    """What an error knows is in its attributes; nobody has to parse a message."""
    assert data == {name: getattr(error, name) for name in data}


@given(reasons=st.lists(st.text(), min_size=1), state=st.text())
def test_hostile_words(reasons: list[str], state: str) -> None:
    """What the server wrote into an activity reaches a message escaped."""
    activity = Activity(activity_id="a", state=state, activity_errors=tuple(reasons))
    failed, expired = ActivityFailedError(activity), ActivityExpiredError(activity)
    messages = [str(failed), str(expired), str(WatchTimeoutError("a", activity, 1))]

    assert all(message.isprintable() for message in messages), messages


@pytest.mark.parametrize(
    "error",
    [
        ActivityFailedError(Activity(activity_id="a", state="failed", activity_errors=("x" * 100_000,) * 9)),
        ActivityExpiredError(Activity(activity_id="a", state="x" * 100_000)),
        WatchTimeoutError("a", Activity(activity_id="a", state="x" * 100_000), 1),
    ],
    ids=["failed", "expired", "timeout"],
)
def test_verbose_server(error: CCActivityError) -> None:
    """What the server wrote into an activity reaches a message cut."""
    assert len(str(error)) < 1_000


def test_watch_timeout_is_a_timeout() -> None:
    """Who catches TimeoutError catches the end of a watch's time too."""
    with pytest.raises(TimeoutError) as caught:
        raise WatchTimeoutError("a", FAILED, 1)

    assert isinstance(caught.value, CCActivityError)


def test_reauthorization_is_a_token_error() -> None:
    """Who catches TokenError catches the need to log in again too."""
    with pytest.raises(TokenError):
        raise ReauthorizationRequiredError("log in again")


# --- batches ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a"], "1 id could not be followed (1 sub-exception)"),
        (["a", "b"], "2 ids could not be followed (2 sub-exceptions)"),
    ],
)
def test_batch_message(ids: list[str], message: str) -> None:
    """A batch's error says how many ids could not be followed."""
    assert message == str(BatchError.of({activity_id: missing(activity_id) for activity_id in ids}))


def test_batch_is_a_group() -> None:
    """A batch's error is of the family and a group at once, and has the error of each id."""
    batch, gone, late = a_batch()

    assert isinstance(batch, CCActivityError)
    assert isinstance(batch, ExceptionGroup)
    assert {"gone": gone, "late": late} == batch.errors
    assert (gone, late) == batch.exceptions


def test_batch_keeps_its_own_mapping() -> None:
    """A batch's error does not change when the mapping it was made from does."""
    found: dict[str, CCActivityError] = {"gone": missing("gone")}
    batch = BatchError.of(found)
    found.clear()

    assert ["gone"] == list(batch.errors)


def test_except_star() -> None:
    """`except*` takes the errors of one kind out of a batch, with their ids, and leaves the others."""
    batch, gone, late = a_batch()
    taken: list[BaseException] = []

    def handle_what_is_missing() -> None:
        try:
            raise batch
        except* NotFoundError as group:
            taken.append(group)

    with pytest.raises(BatchError) as rest:
        handle_what_is_missing()

    assert [{"gone": gone}] == [group.errors for group in taken if isinstance(group, BatchError)]
    assert {"late": late} == rest.value.errors
    assert (late,) == rest.value.exceptions


def test_except_star_takes_all() -> None:
    """`except*` of everything that is in a batch leaves nothing to raise."""
    batch, gone, late = a_batch()
    taken: list[BaseException] = []

    def end_with(error: Exception) -> None:
        raise error

    try:
        end_with(batch)
    except* NotFoundError as missed:
        taken += missed.exceptions
    except* TimeoutError as timed_out:
        taken += timed_out.exceptions

    assert [gone, late] == taken


def test_split() -> None:
    """Both halves of a split batch are batches, each with the errors of its own ids."""
    batch, gone, late = a_batch()
    # Typeshed gives the halves the type of what was asked for, which no batch can have.
    halves: tuple[Any, ...] = batch.split(TimeoutError)

    assert [BatchError] * 2 == [type(half) for half in halves]
    assert [{"late": late}, {"gone": gone}] == [half.errors for half in halves]
    assert [batch.message] * 2 == [half.message for half in halves]


def test_subgroup() -> None:
    """A subgroup of a batch is a batch, also when a function chooses it."""
    batch, gone, _ = a_batch()
    chosen = batch.subgroup(lambda error: "gone" in str(error) and error is not batch)

    assert isinstance(chosen, BatchError)
    assert {"gone": gone} == chosen.errors


def test_split_keeps_the_story() -> None:
    """Notes, cause and traceback of a batch are on both halves of a split."""
    batch, _, _ = a_batch()
    batch.add_note("spring campaign")
    cause = OSError("network")
    with pytest.raises(BatchError):
        raise batch from cause
    halves = batch.split(NotFoundError)

    assert [["spring campaign"]] * 2 == [half.__notes__ for half in halves if half is not None]
    assert [cause] * 2 == [half.__cause__ for half in halves if half is not None]
    assert [batch.__traceback__] * 2 == [half.__traceback__ for half in halves if half is not None]


def test_derive() -> None:
    """A derived batch has the message of the first, and the ids of the errors that it was given."""
    batch, _, late = a_batch()
    derived = batch.derive([late])

    assert (BatchError, batch.message, {"late": late}) == (type(derived), derived.message, derived.errors)
