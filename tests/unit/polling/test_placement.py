"""Which list page, or which queue of GETs, will show an id next."""

from __future__ import annotations

import math

from support.planner_world import at

from ccactivity.api.operations import MAX_PAGE_SIZE
from ccactivity.polling.forecast import QUEUED, UNSEEN, WORKING
from ccactivity.polling.pages import KnownPage, ShownPage
from ccactivity.polling.placement import Placement
from ccactivity.polling.tuning import Tuning

TUNING = Tuning()
FIRST, SECOND, THIRD = None, "/v3/activities?cursor=2", "/v3/activities?cursor=3"


def placement_of(*keys: str, lists: bool = True) -> Placement:
    """These ids, watched at loop time 0, nothing seen yet."""
    placement = Placement(TUNING)
    for key in keys:
        placement.watch(key, 0.0, math.inf, lists=lists)
    return placement


def show(placement: Placement, href: str | None, found: str, next_href: str | None = None, *, now: float = 1.0) -> None:
    """A page of 500 rows showed these ids, one character each."""
    page = placement.find_page(None, href)
    assert page is not None
    placement.on_page(page, ShownPage(list(found), next_href), now, now, set())


def look(placement: Placement, key: str, phase: str, *, created: float = 0.0, now: float = 0.0) -> None:
    """A GET showed this id in that phase, at this loop time."""
    entry = placement.ids[key]
    before, looked_at = entry.phase, entry.looked_at
    entry.phase, entry.vendor_created_at, entry.looked_at = phase, at(created), now
    placement.on_look(entry, before, looked_at, now, None)


def ids_on(placement: Placement) -> list[str]:
    """The ids that are expected on each page."""
    return ["".join(sorted(entry.activity_id for entry in page.entries)) for page in placement.pages]


def pages_missed(placement: Placement, key: str) -> int:
    """How many pages were in vain for it; -1 when it is expected on none."""
    cohort = placement.ids[key].cohort
    return -1 if cohort is None else cohort.pages_missed


def in_get_queues(placement: Placement) -> str:
    """The ids that may be asked for by GET; what has become certain is taken out of a queue late."""
    queued = [entry for queue in placement.get_queues.values() for entry in queue.values()]
    due = [(version, placement.ids[key]) for _, version, key in placement.due_heap if key in placement.ids]
    queued += [entry for version, entry in due if version == entry.heap_version]
    return "".join(sorted(entry.activity_id for entry in queued if not placement.is_certain(entry)))


# --- which page -----------------------------------------------------------------------------------------------------


def test_a_new_id_is_expected_on_the_first_page() -> None:
    """Where nothing is known of the list, each id is expected on its first page, and may be asked for by GET."""
    placement = placement_of("a", "b")

    assert ["ab"] == ids_on(placement)
    assert "ab" == in_get_queues(placement)


def test_what_a_page_showed_needs_no_get() -> None:
    """Ids that a page showed together are certain to be shown by it; a page with a single one is not worth it."""
    placement = placement_of("a", "b")
    show(placement, FIRST, "ab")
    together = in_get_queues(placement)
    placement.forget(placement.ids["a"])

    assert "" == together
    assert "b" == in_get_queues(placement)


def test_what_a_page_did_not_show_is_expected_on_the_next() -> None:
    """Ids that are missing move on to the next page, ever less certainly, and after the last to the first again.

    After as many pages in vain as there are such ids they are expected nowhere.
    """
    placement = placement_of("a", "b", "c", "d", "e")
    places = []
    for href, next_href in ((FIRST, SECOND), (SECOND, THIRD), (THIRD, None), (FIRST, SECOND)):
        show(placement, href, "ab" if href is FIRST else "", next_href)
        places.append((ids_on(placement), pages_missed(placement, "c")))

    assert [(["ab", "cde"], 1), (["ab", "cde"], 2), (["abcde"], 3), (["ab"], -1)] == places
    assert "cde" == in_get_queues(placement)


def test_what_is_found_again_is_certain_again() -> None:
    """An id that comes up on a page after all is on that page."""
    placement = placement_of("a", "b", "c")
    show(placement, FIRST, "ab", SECOND)
    show(placement, SECOND, "", None)
    show(placement, FIRST, "abc", SECOND)

    assert (["abc"], 0) == (ids_on(placement), pages_missed(placement, "c"))
    assert "" == in_get_queues(placement)


def test_a_row_that_is_outdated_is_not_found() -> None:
    """An id that a page showed as it was before the last look counts as missing."""
    placement = placement_of("a", "b", "c")
    page = placement.pages[0]
    placement.on_page(page, ShownPage(["a", "b", "c"], SECOND), 1.0, 1.0, {"c"})

    assert ["ab", "c"] == ids_on(placement)


def test_a_page_without_ids_is_forgotten() -> None:
    """Between the first page and one with ids none is remembered, until something is sought on the way."""
    placement = placement_of("a", "b", "c", "d")
    show(placement, FIRST, "", SECOND)
    show(placement, SECOND, "", THIRD)
    show(placement, THIRD, "abcd")
    far = [page.href for page in placement.pages]
    placement.watch("e", 2.0, math.inf, lists=True)
    placement.watch("f", 2.0, math.inf, lists=True)
    show(placement, THIRD, "abcd")
    show(placement, FIRST, "", SECOND)

    assert [FIRST, THIRD] == far
    assert [(FIRST, ""), (SECOND, "ef"), (THIRD, "abcd")] == list(
        zip([page.href for page in placement.pages], ids_on(placement), strict=True)
    )


def test_links_that_lead_back_make_no_new_page() -> None:
    """Where the next link is that of a page which is known already, the walk begins again."""
    placement = placement_of("a", "b", "c")
    show(placement, FIRST, "", SECOND)
    show(placement, SECOND, "", SECOND)

    assert ["abc"] == ids_on(placement)


def test_a_page_remembers_the_newest_link() -> None:
    """The link of the next page is the one that was seen last."""
    placement = placement_of("a", "b", "c", "d")
    show(placement, FIRST, "ab", SECOND)
    show(placement, FIRST, "ab", THIRD)

    assert [FIRST, THIRD] == [page.href for page in placement.pages]


def test_a_new_id_is_expected_where_the_last_new_one_was() -> None:
    """A list that shows new activities on its second page is expected to do so again."""
    placement = placement_of("a", "b")
    show(placement, FIRST, "", SECOND)
    show(placement, SECOND, "ab", THIRD)
    placement.watch("c", 2.0, math.inf, lists=True)

    assert ["", "abc"] == ids_on(placement)


def test_the_first_page_asks_for_no_more_rows_than_it_needs() -> None:
    """A quarter and 25 rows beyond the last one wanted; where they did not suffice, a whole page, and then 50 more."""
    placement = placement_of("a", "b")
    page, limits = placement.pages[0], []
    for found, reach, next_href in (("ab", 40, None), ("a", 10, SECOND), ("ab", 40, None), ("ab", 490, None)):
        placement.on_page(page, ShownPage(list(found), next_href, reach), 1.0, 1.0, set())
        limits.append(page.limit)
        assert ["ab"] == ids_on(placement)

    assert [40 + 10 + 25, MAX_PAGE_SIZE, 40 + 10 + 50, MAX_PAGE_SIZE] == limits
    assert ["ab"] == ids_on(placement)


def test_a_new_id_asks_for_one_row_more() -> None:
    """Each further id on the first page has one row more to be shown in, up to a whole page."""
    placement = placement_of("a", "b")
    page = placement.pages[0]
    placement.on_page(page, ShownPage(["a", "b"], None, 40), 1.0, 1.0, set())
    before = page.limit
    placement.watch("c", 2.0, math.inf, lists=True)

    assert before + 1 == page.limit


def test_an_unlinked_page_is_walked_to_again() -> None:
    """What was on a page whose link is no good is expected on the first page again."""
    placement = placement_of("a", "b", "c", "d")
    show(placement, FIRST, "ab", SECOND)
    show(placement, SECOND, "cd")
    placement.unlink(placement.pages[1])

    assert (["abcd"], "cd") == (ids_on(placement), in_get_queues(placement))


def test_without_lists_there_are_no_pages() -> None:
    """Once lists are disabled no id is on a page, nor is one that is watched later, and each is asked for by GET."""
    placement = placement_of("a", "b")
    show(placement, FIRST, "ab")
    placement.disable_lists()
    placement.watch("c", 2.0, math.inf, lists=False)

    assert ([""], "abc") == (ids_on(placement), in_get_queues(placement))


# --- the list of those at work --------------------------------------------------------------------------------------


def suspects(next_href: str | None = None, *, looked_at: float = 0.0, in_flight: bool = False) -> str:
    """Which of three at work are suspected when the list of those at work shows the first of them only."""
    placement = placement_of("a", "b", "c")
    for key in "abc":
        look(placement, key, WORKING)
    placement.ids["b"].looked_at, placement.ids["b"].asked_at = looked_at, 0.0 if in_flight else None
    page = placement.find_page("processing", None)
    assert page is placement.processing_page
    placement.on_page(page, ShownPage(["a"], next_href), 10.0, 10.3, set())
    return "".join(key for key, entry in placement.ids.items() if entry.suspect_ended)


def test_who_is_missing_among_those_at_work_is_suspected() -> None:
    """Absence there is a sign of an end, unless there are more pages, or a look has come or is to come between."""
    assert "bc" == suspects()
    assert "" == suspects(next_href=SECOND)
    assert "c" == suspects(looked_at=10.1)
    assert "c" == suspects(in_flight=True)


def test_a_suspect_is_asked_for_by_get() -> None:
    """What its page is certain to show is asked for all the same when it is suspected to have ended."""
    placement = placement_of("a", "b", "c")
    for key in "abc":
        look(placement, key, WORKING)
    show(placement, FIRST, "abc")
    placement.on_page(placement.processing_page, ShownPage(["a", "b"], None), 10.0, 10.3, set())

    assert "c" == in_get_queues(placement)


def test_a_suspect_needs_no_page() -> None:
    """The list of those at work tells of ids that are on no page, too, since lists were disabled meanwhile."""
    placement = placement_of("a", "b", lists=False)
    for key in "ab":
        look(placement, key, WORKING)
    placement.on_page(placement.processing_page, ShownPage(["a"], None), 10.0, 10.3, set())

    assert [False, True] == [placement.ids[key].suspect_ended for key in "ab"]


def test_a_suspect_counts_no_more_where_it_is_missing() -> None:
    """The list of those at work is not fetched again for an id that it has already shown to be missing."""
    placement = placement_of("a", "b", "c")
    for key in "abc":
        look(placement, key, WORKING)
    before = placement.processing_page.expected_lag(100.0, 0.0, TUNING)
    placement.on_page(placement.processing_page, ShownPage(["a"], None), 10.0, 10.3, set())

    assert {"a"} == set(placement.working.ids)
    assert placement.processing_page.expected_lag(100.0, 0.0, TUNING)[1] < before[1] / 2


# --- queues of GETs -------------------------------------------------------------------------------------------------


def head_of(placement: Placement, fetching: KnownPage | None = None, *, queue: str = UNSEEN) -> str | None:
    entry = placement.head(placement.get_queues[queue], fetching)
    return None if entry is None else entry.activity_id


def test_the_one_looked_at_longest_ago_is_first() -> None:
    """Unseen ids are asked for in turn; one whose GET is on its way is passed over."""
    placement = placement_of("a", "b")
    first = head_of(placement)
    placement.ids["a"].asked_at = 0.0
    second = head_of(placement)
    placement.ids["b"].asked_at = 0.0

    assert ("a", "b", None) == (first, second, head_of(placement))


def test_nobody_asks_for_what_an_answer_is_about_to_show() -> None:
    """While a page is on its way, none of its ids is asked for."""
    placement = placement_of("a", "b")

    assert head_of(placement, placement.pages[0]) is None


def test_what_became_certain_is_not_asked_for() -> None:
    """An id that stands alone on its page is queued, and leaves the queue when another one comes to that page."""
    placement = placement_of("a")
    show(placement, FIRST, "a")
    alone = head_of(placement)
    placement.watch("b", 2.0, math.inf, lists=True)

    assert ("a", "b") == (alone, head_of(placement))


def oldest(placement: Placement) -> str | None:
    entry = placement.oldest_queued()
    return None if entry is None else entry.activity_id


def test_the_oldest_of_the_queued_is_next() -> None:
    """Queued activities begin in the order of their creation; those that have begun or are forgotten queue no more."""
    placement = placement_of("a", "b", "c")
    for created, key in enumerate("cba"):
        look(placement, key, QUEUED, created=float(created))
    order = [oldest(placement)]
    look(placement, "c", WORKING)
    order.append(oldest(placement))
    placement.forget(placement.ids["b"])
    order.append(oldest(placement))
    placement.forget(placement.ids["a"])

    assert ["c", "b", "a", None] == [*order, oldest(placement)]


def test_without_lists_the_unseen_queue_behind_the_queued() -> None:
    """What nobody has seen may be queued as well: by GETs it is asked for after those that are."""
    placement = placement_of("a", "b", lists=False)
    unseen = oldest(placement)
    look(placement, "b", QUEUED, created=5.0)

    assert ("a", "b") == (unseen, oldest(placement))


def test_what_cannot_be_had_lets_others_pass() -> None:
    """An id whose GET failed is asked for by itself, and not in its turn, until it is had again."""
    placement = placement_of("a", "b")
    for created, key in enumerate("ab"):
        look(placement, key, QUEUED, created=float(created))
    turns = []
    for failures in (1, 0):
        placement.ids["a"].failures = failures
        placement.enqueue(placement.ids["a"])
        turns.append((oldest(placement), head_of(placement, queue=QUEUED)))

    assert [("b", "b"), ("a", "b")] == turns


def test_a_start_is_known_to_be_between_two_looks() -> None:
    """The head of the queue is known to be queued by its last look; it began halfway between that and the next."""
    placement = placement_of("a", "b")
    for created, key in enumerate("ab"):
        look(placement, key, QUEUED, created=float(created))
    look(placement, "a", QUEUED, created=0.0, now=10.0)
    waiting = placement.head_known_queued_at
    look(placement, "b", QUEUED, created=1.0, now=12.0)
    look(placement, "a", WORKING, created=0.0, now=20.0)

    assert (10.0, 15.0) == (waiting, placement.head_known_queued_at)
    assert 1.0 == placement.pages[0].starts


def test_the_last_max_staleness_holds() -> None:
    """Stricter or not, it is that of the id and of its page, and the id stays in one queue."""
    placement = placement_of("a", "b")
    strictest = []
    for key, max_staleness in (("a", 30.0), ("b", 20.0), ("a", 5.0), ("a", 60.0), ("b", math.inf), ("a", math.inf)):
        placement.watch(key, 1.0, max_staleness, lists=True)
        strictest.append(placement.pages[0].max_staleness)
        assert max_staleness == placement.ids[key].max_staleness
        assert "ab" == in_get_queues(placement)

    assert [30.0, 20.0, 5.0, 20.0, 60.0, math.inf] == strictest


def test_a_max_staleness_needs_no_page() -> None:
    """Where lists are disabled, the last max_staleness holds as well."""
    placement = placement_of("a", lists=False)
    for max_staleness in (5.0, 9.0):
        placement.watch("a", 1.0, max_staleness, lists=False)

    assert (9.0, "a") == (placement.ids["a"].max_staleness, in_get_queues(placement))
