"""A program without a browser that logs in once, and stays logged in: the device flow.

    pip install "ccactivity[oauth]"
    python device_login.py --sandbox     # offline: open the address, and approve
    python device_login.py               # with CCACTIVITY_CLIENT_ID in the environment

The client id is the API key of your application; its secret, if it has one, goes into
CCACTIVITY_CLIENT_SECRET.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections import Counter
from contextlib import ExitStack

from ccactivity import ActivitySession, CCActivityError
from ccactivity.oauth import FileStore, MemoryStore, OAuthClient, OAuthTokens, TokenStore
from ccactivity.sandbox import OAuthRules, Sandbox


async def report(store: TokenStore) -> None:
    """Count the activities of the last ten days; have somebody log in before, if need be."""
    stop_on_sigterm()
    async with OAuthTokens(OAuthClient.from_env(), store) as tokens:
        account = await tokens.account()
        if account is None or account.problem:
            await log_in(tokens)
        async with ActivitySession.from_env(tokens) as session:
            states = Counter(activity.state for activity in await session.list_activities())
    for state, count in states.most_common():
        print(f"{count:5} {state}")


async def log_in(tokens: OAuthTokens) -> None:
    login = await tokens.start_device_login()
    print(f"Open {login.verification_uri_complete or login.verification_uri}")
    print(f"on any device, and approve if it shows the code {login.user_code}.", flush=True)
    account = await login  # until they have
    print(f"Logged in; the login is kept in {account.stored_in}.")


def stop_on_sigterm() -> None:
    """Let SIGTERM cancel the running task, as Ctrl-C does: what is open is closed."""
    task = asyncio.current_task()
    assert task is not None
    if sys.platform != "win32":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def main() -> int:
    parser = argparse.ArgumentParser(description="Log in once, and count your activities.")
    parser.add_argument("--sandbox", action="store_true", help="offline, with simulated imports")
    options = parser.parse_args()
    with ExitStack() as stack:
        store: TokenStore = MemoryStore()
        if options.sandbox:
            vendor = stack.enter_context(Sandbox(history=20, oauth=OAuthRules(interval=1)))
            client_id = vendor.register_client().client_id
            os.environ["CCACTIVITY_BASE_URL"] = vendor.base_url
            os.environ["CCACTIVITY_OAUTH_URL"] = vendor.oauth_base_url
            os.environ["CCACTIVITY_CLIENT_ID"] = client_id
        else:
            store = FileStore()  # a file in your state directory that only you can read
        try:
            asyncio.run(report(store))
        except ValueError as error:
            parser.error(str(error))
        except CCActivityError as error:
            print(f"error: {error}", file=sys.stderr)
            return 3
        except KeyboardInterrupt:
            return 130
        except asyncio.CancelledError:
            return 143
    return 0


if __name__ == "__main__":
    sys.exit(main())
