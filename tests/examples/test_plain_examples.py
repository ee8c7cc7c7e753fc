"""The examples of docs/examples run as they stand, offline with `--sandbox`, and keep the vendor's rules.

These need nothing but the package; `nox -s examples` runs them, and those beside this file that need a framework.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import sys
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from support.examples import EXAMPLES, Viewer, free_port, get, started

from ccactivity import ActivitySession
from ccactivity.sandbox import Fault, Life, OAuthRules, Sandbox, Workload, forbidden, throttled

HERE = {
    *("batch_monitor", "device_login", "live_page", "nightly_import", "submit_imports", "test_my_import", "web_app"),
    "web_login",
}
IN_FRAMEWORKS = {
    *("django_celery", "fastapi_app", "fleet_app", "fleet_worker", "live_page_fastapi", "taskiq_worker", "worker"),
}


def test_each_example_is_run() -> None:
    """Each program of the folder is run by a test: here, or where its framework is."""
    frameworks = Path(__file__).with_name("test_framework_examples.py").read_text(encoding="utf-8")

    assert HERE | IN_FRAMEWORKS == {path.stem for path in EXAMPLES.glob("*.py")}
    assert all(f"{name}.py" in Path(__file__).read_text(encoding="utf-8") for name in HERE)
    assert all(re.search(rf"\b{name}\b", frameworks) for name in IN_FRAMEWORKS)


# --- batches ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_batch_monitor(tmp_path: Path) -> None:
    """Five hundred imports are waited for, and those that failed or lost rows are in a private report."""
    report = tmp_path / "failures.csv"
    with started("batch_monitor.py", "--sandbox", "--report", str(report)) as example:
        code = example.end()

    assert (1, "") == (code, example.stderr)
    assert "500 of 500 have ended" in example.lines
    assert "471 completed, 29 failed, 0 could not be followed" in example.lines
    assert 47 == len(report.read_text(encoding="utf-8").splitlines())
    assert 0o600 == report.stat().st_mode & 0o777


@pytest.mark.parametrize(("end", "code"), [("completed", 0), ("failed", 1)])
def test_batch_monitor_of_ids_in_a_file(vendor: Sandbox, tmp_path: Path, end: Any, code: int) -> None:
    """The ids come from a file, and the exit code says whether all of them have completed."""
    ended = vendor.submit(Life(duration=0.001, end=end))
    (tmp_path / "ids").write_text(f"{ended}\n")
    with started("batch_monitor.py", f"{tmp_path}/ids", "--report", f"{tmp_path}/r", env=vendor.env) as example:
        assert (code, "") == (example.end(), example.stderr)


def test_batch_monitor_of_an_id_that_cannot_be_followed(vendor: Sandbox, tmp_path: Path) -> None:
    """An id that cannot be followed is in the report, and hides nothing of the others."""
    good, bad = vendor.submit(Life(duration=0.001)), "04fe9a00-a579-43c5-bb1a-58ed29bf0a6a"
    vendor.faults.add(Fault(forbidden(), activity_id=bad))
    (tmp_path / "ids").write_text(f"{good}\n{bad}\n")
    with started("batch_monitor.py", f"{tmp_path}/ids", "--report", f"{tmp_path}/r", env=vendor.env) as example:
        assert (1, "") == (example.end(), example.stderr)

    assert "1 completed, 0 failed, 1 could not be followed" in example.lines
    assert f"{bad},unknown,," in (tmp_path / "r").read_text()


@pytest.mark.parametrize(
    ("ids", "token", "code", "words"),
    [
        ("no/id", {}, 2, "error: malformed activity_id 'no/id'"),
        ("04fe9a", {"CCACTIVITY_ACCESS_TOKEN": ""}, 2, "set CCACTIVITY_ACCESS_TOKEN"),
        ("04fe9a", {"CCACTIVITY_ACCESS_TOKEN": "expired"}, 3, "HTTP 401"),
    ],
)
def test_batch_monitor_that_cannot_begin(
    tmp_path: Path, ids: str, token: dict[str, str], code: int, words: str
) -> None:
    """What is wrong is said in one line, with an exit code of its own."""
    (tmp_path / "ids").write_text(ids)
    with Sandbox() as vendor:
        env = vendor.env | token
        with started("batch_monitor.py", f"{tmp_path}/ids", env=env, cwd=tmp_path) as example:
            assert code == example.end()

    assert words in example.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_program(vendor: Sandbox, number: signal.Signals, code: int, tmp_path: Path) -> None:
    """Ctrl-C and SIGTERM end a program with a code of its own, and the report has what did not end."""
    (tmp_path / "ids").write_text("".join(f"{vendor.submit(Life(duration=0.001))}\n" for _ in range(100)))
    unfinished = vendor.submit(Life(duration=3600))
    with (tmp_path / "ids").open("a") as file:
        file.write(unfinished)
    with started("batch_monitor.py", f"{tmp_path}/ids", env=vendor.env, cwd=tmp_path) as example:
        example.read_until("100 of 101")

        assert (code, "") == (example.stop(number), example.stderr)
    assert unfinished in (tmp_path / "failures.csv").read_text(encoding="utf-8")


# --- imports ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_nightly_import() -> None:
    """A made-up file is imported, and its one bad row is written to be corrected."""
    with started("nightly_import.py", "--sandbox") as example:
        code = example.end()

    assert 1 == code
    assert "90,000 rows, 1 refused, 0 in parts that failed" == example.lines[-2]
    assert "1 rows to look at, in contacts.rejects.csv" == example.lines[-1]
    assert example.stderr.startswith("addresses that do not look like one or have space around them: 1, the first")


@pytest.mark.slow
def test_a_nightly_import_that_is_stopped(tmp_path: Path) -> None:
    """The same command goes on: each part is sent once, and the journal is gone at the end."""
    file, list_id = tmp_path / "contacts.csv", "5b8f3a2c-0d0e-4c1a-9f43-2f0a7d1e6b11"
    file.write_text("email\na@a.io\n")
    with Sandbox(
        workload=Workload(median=5, sigma=0.1, failed_share=0, cancelled_share=0, timed_out_share=0)
    ) as vendor:
        with started("nightly_import.py", str(file), list_id, env=vendor.env) as example:
            example.read_until("1 of 1 rows sent")
            assert 143 == example.stop()
        assert f"the same call with the journal '{tmp_path / 'contacts.journal'}' goes on" in example.stderr
        with started("nightly_import.py", str(file), list_id, env=vendor.env) as example:
            assert (0, "") == (example.end(), example.stderr)

        assert (1, 0) == (vendor.requests["post"], vendor.violations.total)
    assert ["contacts.csv"] == [path.name for path in tmp_path.iterdir()]


# --- requests of a program's own --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_submit_imports() -> None:
    """Eight imports are started and followed, within the limit."""
    with started("submit_imports.py", "--sandbox") as example:
        assert (0, "") == (example.end(), example.stderr)

    assert ["8 completed, 0 failed, 0 could not be followed"] == example.lines


@pytest.mark.slow
def test_a_429_to_an_import_is_heeded(vendor: Sandbox) -> None:
    """An import that is answered 429 is started once the time has passed that the vendor asked for."""
    fault = vendor.faults.add(Fault(throttled({"Retry-After": "2"}), where="post", times=1))
    with started("submit_imports.py", "f4ab800a-5adf-11e9-ba6a-fa163e6b01c1", env=vendor.env) as example:
        code = example.end()

    posts = [line for line in vendor.log if line.kind == "post"]
    assert (0, "", 1) == (code, example.stderr, fault.hits)
    assert [429, 201] == [line.status for line in posts[:2]]
    assert posts[1].time - posts[0].time >= 2


@pytest.mark.parametrize("example", ["submit_imports"], indirect=True)
async def test_an_import_whose_token_ends_while_it_waits(example: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The source of the token is told, and the request is sent again with another one."""
    async with Sandbox() as vendor:
        monkeypatch.setenv("CCACTIVITY_BASE_URL", vendor.base_url)
        tokens = ["of-yesterday", vendor.token]

        class Source:
            async def access_token(self) -> str:
                return tokens[0]

            async def refused(self, token: str) -> None:
                assert tokens.pop(0) == token

        source = Source()
        async with ActivitySession(source, base_url=vendor.base_url) as session, aiohttp.ClientSession() as http:
            activity_id = await example.start_import(session, http, [{"email": "a@example.com"}], "f4ab", source)

        assert vendor.vendor.job(activity_id)
        assert [401, 201] == [line.status for line in vendor.log]


def test_an_import_that_is_refused() -> None:
    """Without its token in the log."""
    with Sandbox() as vendor:
        env = vendor.env | {"CCACTIVITY_ACCESS_TOKEN": f"{vendor.token}0"}
        with started("submit_imports.py", "f4ab800a-5adf-11e9-ba6a-fa163e6b01c1", env=env) as example:
            assert (3, "error: an import was refused: HTTP 401\n") == (example.end(), example.stderr)


# --- logging in -------------------------------------------------------------------------------------------------------


def test_device_login() -> None:
    """Somebody opens the address and approves; then the program goes on."""
    with started("device_login.py", "--sandbox") as example:
        page = example.read_until(r"Open (.*)\?user_code=")[1]
        code = example.read_until(r"the code ([A-Z]{4}-[A-Z]{4})\.")[1]
        form = urllib.parse.urlencode({"user_code": code}).encode()
        urllib.request.urlopen(page, form, timeout=10).close()

        assert (0, "") == (example.end(), example.stderr)

    assert ["Logged in; the login is kept in memory.", "   20 completed"] == example.lines[-2:]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_device_login_that_is_interrupted(number: signal.Signals, code: int) -> None:
    """Ctrl-C and SIGTERM end the waiting for a person, and nothing is said of it."""
    with started("device_login.py", "--sandbox") as example:
        example.read_until("the code")

        assert (code, "") == (example.stop(number), example.stderr)


def test_web_login() -> None:
    """A customer who looks at their imports is sent to log in, and comes back; another one has to log in, too."""
    port = free_port()
    with started("web_login.py", "--sandbox", "--port", str(port)) as example:
        example.read_until("Running on")
        imports = f"http://127.0.0.1:{port}/imports"
        for browser in (browser_with_cookies(), browser_with_cookies()):
            status, text = get(imports, browser)

            assert (200, 10) == (status, len(json.loads(text)))
        status, text = get(imports.replace("imports", "callback?code=1&state=2"))

        assert (400, "this login was not begun in this browser") == (status, text)
        assert (0, "") == (example.stop(), example.stderr)


def test_a_web_login_outlives_its_process(tmp_path: Path) -> None:
    """A login is in the database: it is there after a restart; once it is over, the customer is sent to log in."""
    port = free_port()
    browser, imports = browser_with_cookies(), f"http://127.0.0.1:{port}/imports"
    with Sandbox(oauth=OAuthRules(per_second=None)) as vendor:  # of which each process keeps its own count
        vendor.register_client(redirect_uris=[f"http://127.0.0.1:{port}/callback"])
        env = {
            "APP_DATABASE": str(tmp_path / "app.db"),
            "CCACTIVITY_BASE_URL": vendor.base_url,
            "CCACTIVITY_CLIENT_ID": "ccactivity-sandbox",
            "CCACTIVITY_OAUTH_URL": vendor.oauth_base_url,
        }
        for _ in range(2):
            with started("web_login.py", "--port", str(port), env=env) as example:
                example.read_until("Running on")

                assert (200, "[]") == get(imports, browser)
                assert 1 == vendor.requests["authorize"]
                if vendor.requests["list"] == 2:
                    vendor.revoke_logins()

                    assert (200, "[]") == get(imports, browser)
                    assert 2 == vendor.requests["authorize"]
                assert (0, "") == (example.stop(), example.stderr)
        assert 0 == vendor.violations.total
    assert 0o600 == (tmp_path / "app.db").stat().st_mode & 0o777


@pytest.mark.parametrize("example", ["web_login"], indirect=True)
async def test_the_lock_of_a_login(example: Any, tmp_path: Path) -> None:
    """The lock of a customer's login excludes whoever else has it, and nobody who has another one."""
    database = str(tmp_path / "app.db")
    example.create_database(database)

    async def take(customer: str) -> None:
        async with example.DatabaseStore(database, customer).exclusive():
            pass

    async with example.DatabaseStore(database, "one").exclusive():
        waiting = asyncio.create_task(take("one"))
        await take("two")
        await asyncio.sleep(1)

        assert not waiting.done()
    await waiting


def browser_with_cookies() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("live_page.py", "CCACTIVITY_ACCESS_TOKEN"),
        ("web_app.py", "CCACTIVITY_ACCESS_TOKEN"),
        ("web_login.py", "CCACTIVITY_CLIENT_ID"),
    ],
)
def test_a_server_that_lacks_a_variable(name: str, variable: str, tmp_path: Path) -> None:
    """What has to be set is said in one line."""
    with started(name, env={"APP_DATABASE": str(tmp_path / "app.db")}) as example:
        assert 2 == example.end()

    assert f"error: set {variable}" in example.stderr


# --- the web app ------------------------------------------------------------------------------------------------------


def test_web_app() -> None:
    """A viewer sees the page and the events; a server that is told to stop ends the stream at once."""
    port = free_port()
    with started("web_app.py", "--sandbox", "--port", str(port)) as example:
        page = example.read_until("http://.*/imports/.*")[0]
        example.read_until("Running on")

        assert "new EventSource" in get(page)[1]
        assert (404, "there is no such import") == get(f"http://127.0.0.1:{port}/imports/no-such-id/events")
        viewer = Viewer(f"{page}/events")
        first = viewer.next()

        assert "text/event-stream" == viewer.content_type
        assert first is not None
        assert "processing" == first["state"]
        assert (0, "") == (example.stop(), example.stderr)
        while viewer.next() is not None:
            pass
        viewer.leave()


def test_live_page() -> None:
    """A viewer sees the page, and each activity of the account; the server stops although somebody looks."""
    port = free_port()
    with started("live_page.py", "--sandbox", "--port", str(port)) as example:
        page = example.read_until("http://.*/imports/")[0]
        example.read_until("Running on")
        viewer = Viewer(f"{page}events")
        rows: set[str] = set()
        while len(rows) < 20:
            rows.update(row["key"] for row in (viewer.next() or {}).get("rows", ()))

        assert "Tonight&#x27;s imports" in get(page)[1]
        assert (0, "") == (example.stop(), example.stderr)
        viewer.leave()


@pytest.mark.slow
def test_viewers_of_a_web_app_who_leave(vendor: Sandbox) -> None:
    """A viewer who leaves causes no traceback, at the next change or later."""
    job = vendor.submit(Life(duration=3600, update_every=0.2))
    port = free_port()
    with started("web_app.py", "--port", str(port), env=vendor.env) as example:
        example.read_until("Running on")
        for _ in range(3):
            viewer = Viewer(f"http://127.0.0.1:{port}/imports/{job}/events")
            viewer.next()
            viewer.leave()
        ended = Viewer(f"http://127.0.0.1:{port}/imports/{vendor.submit(Life(duration=0.1))}/events")
        last: object = None
        while (event := ended.next()) is not None:
            last = event

        assert {} == last
        assert (0, "") == (example.stop(), example.stderr)


@asynccontextmanager
async def served(app: web.Application, options: dict[str, Any]) -> AsyncIterator[str]:
    """Serve an app as `web.run_app` would with these options, but for the port."""
    runner = web.AppRunner(app, handler_cancellation=options.get("handler_cancellation", False))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("example", ["web_app"], indirect=True)
async def test_the_watch_of_a_viewer_who_leaves(example: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch of a viewer ends when they leave, at once; until then a comment comes every 15 s."""
    async with Sandbox() as vendor:
        for name, value in vendor.env.items():
            monkeypatch.setenv(name, value)
        job = vendor.submit(Life(duration=36_000, update_every=36_000))
        monkeypatch.setattr(sys, "argv", ["web_app.py"])
        given: list[tuple[web.Application, dict[str, Any]]] = []
        monkeypatch.setattr(web, "run_app", lambda app, **options: given.append((app, options)))
        example.main()
        ((app, options),) = given
        async with served(app, options) as url, aiohttp.ClientSession() as http:
            async with http.get(f"{url}/imports/{job}/events") as response:
                lines = [await response.content.readline() for _ in range(6)]

                assert [b"data:", b"", b": keep-alive", b"", b": keep-alive", b""] == [
                    line.strip()[:12] if line.startswith(b":") else line.strip()[:5] for line in lines
                ]
                assert 30 == round(vendor.now)
                assert 1 == app[example.SESSION].stats.watching
                response.close()
            await asyncio.sleep(0.01)

            assert 0 == app[example.SESSION].stats.watching
            asked = vendor.requests.total()
            await asyncio.sleep(3600)

            assert asked == vendor.requests.total()
    assert 0 == vendor.violations.total


# --- tests ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_my_import(tmp_path: Path) -> None:
    """The tests pass where a user would put them, with nothing but pytest and the package."""
    shutil.copy(EXAMPLES / "test_my_import.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    with started("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=tmp_path) as example:
        assert (0, "") == (example.end(), example.stderr)

    assert "5 passed" in example.lines[-1]
