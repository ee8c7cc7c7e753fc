"""Starts imports and waits for them, all within the limits of one API key.

    pip install ccactivity
    python submit_imports.py --sandbox   # offline, with simulated imports
    python submit_imports.py LIST_ID     # with CCACTIVITY_ACCESS_TOKEN in the environment

The requests that start imports are your own: send them with the HTTP client that you like.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import ExitStack

import aiohttp

from ccactivity import ActivitySession, BatchResult, CCActivityError, TokenSource
from ccactivity.sandbox import Sandbox, Workload

ATTEMPTS = 10
HTTP_TIMEOUT = aiohttp.ClientTimeout(total=60)


async def start_import(
    session: ActivitySession,
    http: aiohttp.ClientSession,
    contacts: Sequence[dict[str, str]],
    list_id: str,
    tokens: TokenSource | None = None,
) -> str:
    """Start an import, and return its activity id.

    `tokens`: such as the `OAuthTokens` of the session; None takes the token of the environment.
    """
    base_url = os.environ.get("CCACTIVITY_BASE_URL", "https://api.cc.email/v3")
    for _ in range(ATTEMPTS):
        # Anew for each attempt: a token lives a day.
        token = await tokens.access_token() if tokens else os.environ["CCACTIVITY_ACCESS_TOKEN"]
        # The permit waits for a turn: this request and the watches of the session share the limit.
        async with (
            session.request_permit() as permit,
            http.post(
                f"{base_url}/activities/contacts_json_import",
                json={"import_data": contacts, "list_ids": [list_id]},
                headers={"Authorization": f"Bearer {token}"},
                allow_redirects=False,  # each request needs a permit of its own
            ) as answer,
        ):
            body = await answer.read()
            permit.answered(answer.status, answer.headers, body)
        if answer.status == 201:
            return str(json.loads(body)["activity_id"])
        if answer.status == 401 and tokens:  # it has ended meanwhile, and is refreshed
            await tokens.refused(token)
        elif answer.status != 429:
            # Not `answer.raise_for_status()`: a log of its error would show the token.
            raise RuntimeError(f"an import was refused: HTTP {answer.status}")
        # A 429 has started nothing. The next permit waits for as long as it asked.
    raise RuntimeError(f"an import was refused {ATTEMPTS} times")


async def submit(batches: Iterable[Sequence[dict[str, str]]], list_id: str) -> BatchResult:
    """Start an import for each batch, and watch each from its start to its end."""
    stop_on_sigterm()
    async with (
        ActivitySession.from_env() as session,
        aiohttp.ClientSession(timeout=HTTP_TIMEOUT) as http,
    ):

        async def ids() -> AsyncIterator[str]:
            for contacts in batches:
                yield await start_import(session, http, contacts, list_id)

        return await session.wait_many(ids(), timeout=4 * 3600)


def made_up_contacts(batch: int) -> list[dict[str, str]]:
    return [{"email": f"reader-{batch}-{number}@example.com"} for number in range(100)]


def stop_on_sigterm() -> None:
    """Let SIGTERM cancel the running task, as Ctrl-C does: what is open is closed."""
    task = asyncio.current_task()
    assert task is not None
    if sys.platform != "win32":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def main() -> int:
    parser = argparse.ArgumentParser(description="Start imports, and wait for them.")
    parser.add_argument("list_id", nargs="?", help="the contact list to import into")
    parser.add_argument("--sandbox", action="store_true", help="offline, with simulated imports")
    options = parser.parse_args()
    with ExitStack() as stack:
        if options.sandbox:
            quick = Workload(median=1, sigma=0.3, delay=(0, 0.5))
            vendor = stack.enter_context(Sandbox(workload=quick))
            os.environ.update(vendor.env)
            options.list_id = "f4ab800a-5adf-11e9-ba6a-fa163e6b01c1"
        elif options.list_id is None:
            parser.error("give the id of a contact list, or --sandbox")
        try:
            result = asyncio.run(submit(map(made_up_contacts, range(8)), options.list_id))
        except ValueError as error:
            parser.error(str(error))
        except (CCActivityError, aiohttp.ClientError, TimeoutError, RuntimeError) as error:
            print(f"error: {str(error) or type(error).__name__}", file=sys.stderr)
            return 3
        except KeyboardInterrupt:
            return 130
        except asyncio.CancelledError:
            return 143
    counts = (len(result.completed), len(result.failed), len(result.errors))
    print("{} completed, {} failed, {} could not be followed".format(*counts))
    return 1 if result.failed or result.errors else 0


if __name__ == "__main__":
    sys.exit(main())
