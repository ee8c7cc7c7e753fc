"""The commands and their options, as cyclopts reads them; each imports what it needs when it runs.

A session of the library, and rich, take longer to import than a person likes to wait for `--help`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import attrs
from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number

from ccactivity import __version__

if TYPE_CHECKING:
    from rich.text import Text

    from .session import Connection

__all__ = ["app", "run"]

_EPILOGUE = (
    "Exit codes: 0 all well, 1 an activity did not complete, 2 wrong usage, 3 the API refused or could not be reached, "
    "130 interrupted."
)


def _error(error: CycloptsError) -> Text:
    from rich.text import Text

    return Text(f"error: {error}")


app: App = App(
    name="ccactivity",
    help="Bulk activities and send histories of the Constant Contact V3 API.",
    help_epilogue=_EPILOGUE,
    help_format="plaintext",
    version=__version__,
    error_formatter=_error,
    result_action="return_value",
    default_parameter=Parameter(negative=()),
)
app.register_install_completion_command(help="Install the completion of the shell in use.")
app["--install-completion"].group = app["--help"].group


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Place:
    """Where the login is: what every command but those without an account takes."""

    store: Annotated[
        Path | None, Parameter(metavar="FILE", help="File of the login; else CCACTIVITY_TOKEN_STORE, else your own.")
    ] = None
    verbose: Annotated[bool, Parameter(alias="-v", show_default=False, help="Show the library's log on stderr.")] = (
        False
    )

    def path(self) -> Path | None:
        """The file that was named, once the log is shown if it is wanted."""
        if self.verbose:
            from .logs import show_logs

            show_logs()
        return self.store


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Options(Place):
    """What every command that asks the API takes."""

    token_file: Annotated[
        Path | None,
        Parameter(metavar="FILE", help="File with the access token; else CCACTIVITY_ACCESS_TOKEN, else the login."),
    ] = None
    base_url: Annotated[
        str | None, Parameter(metavar="URL", help="Of the API; else CCACTIVITY_BASE_URL, else the vendor's.")
    ] = None

    def connection(self) -> Connection:
        """What the commands need of it."""
        from .session import Connection

        return Connection(token_file=self.token_file, store=self.path(), base_url=self.base_url)


Json = Annotated[bool, Parameter(name="--json", show_default=False, help="One JSON object a line.")]
Record = Annotated[bool, Parameter(name="--json", show_default=False, help="One JSON object.")]
Csv = Annotated[bool, Parameter(name="--csv", show_default=False, help="CSV with a header.")]
State = Literal["processing", "completed", "cancelled", "failed", "timed_out"]
Seconds: Parameter = Parameter(metavar="SECONDS", validator=Number(gt=0))
_FAULT = "Such as 503, throttled, hang, reset; 503:0.2 strikes one request in five. May be repeated."
_LIFE = Number(gte=1, lte=10**9)
_ANY = Options()
_HERE = Place()


@app.command(name="list")
async def list_(
    *,
    state: Annotated[State | None, Parameter(help="Only those in this state.")] = None,
    limit: Annotated[
        int | None, Parameter(metavar="ROWS", validator=Number(gte=1), help="So many rows at most.")
    ] = None,
    json: Json = False,
    csv: Csv = False,
    options: Options = _ANY,
) -> int:
    """List the activities of the last ten days."""
    from .commands import list_ as command
    from .output import form_of

    return await command(options.connection(), form_of(json=json, csv=csv), state=state, limit=limit)


@app.command
async def get(
    ids: Annotated[list[str], Parameter(name="ID", help="Activity ids.")],
    /,
    *,
    json: Json = False,
    options: Options = _ANY,
) -> int:
    """Show single activities as they stand."""
    from .commands import get as command
    from .output import form_of

    return await command(options.connection(), form_of(json=json), ids)


@app.command
async def watch(
    ids: Annotated[list[str] | None, Parameter(name="ID", help="Activity ids.")] = None,
    /,
    *,
    source: Annotated[
        str | None,
        Parameter(name="--from", allow_leading_hyphen=True, metavar="FILE", help="File with an id a line; - is stdin."),
    ] = None,
    everything: Annotated[
        bool, Parameter(name="--all", show_default=False, help="Whatever has not ended yet.")
    ] = False,
    timeout: Annotated[float | None, Seconds, Parameter(help="How long each activity has to end.")] = None,
    max_staleness: Annotated[float | None, Seconds, Parameter(help="How long one may go unseen at most.")] = None,
    json: Json = False,
    options: Options = _ANY,
) -> int:
    """Watch activities until each has ended."""
    from .watching import watch as command

    return await command(
        options.connection(),
        ids or (),
        source=source,
        everything=everything,
        timeout=timeout,
        max_staleness=max_staleness,
        as_json=json,
    )


@app.command
async def history(
    campaign_activity_id: Annotated[str, Parameter(help="Id of a campaign activity.")],
    /,
    *,
    json: Json = False,
    csv: Csv = False,
    options: Options = _ANY,
) -> int:
    """Show how the sends of an email went."""
    from .commands import history as command
    from .output import form_of

    return await command(options.connection(), form_of(json=json, csv=csv), campaign_activity_id)


@app.command
async def login(
    *,
    client_id: Annotated[
        str | None, Parameter(metavar="ID", help="API key of the application; else CCACTIVITY_CLIENT_ID.")
    ] = None,
    scope: Annotated[
        list[str] | None, Parameter(metavar="SCOPE", help="In the place of those this tool needs. May be repeated.")
    ] = None,
    oauth_url: Annotated[
        str | None, Parameter(metavar="URL", help="Of the login server; else CCACTIVITY_OAUTH_URL, else the vendor's.")
    ] = None,
    json: Record = False,
    place: Place = _HERE,
) -> int:
    """Log in with a browser, on this device or another."""
    from .login import Application
    from .login import login as command

    application = Application(client_id=client_id, oauth_url=oauth_url, scopes=tuple(scope or ()))
    return await command(application, place.path(), as_json=json)


@app.command
async def logout(*, place: Place = _HERE) -> int:
    """Forget the login of this machine."""
    from .login import logout as command

    return await command(place.path())


@app.command
async def whoami(
    *,
    refresh: Annotated[
        bool, Parameter(show_default=False, help="Refresh it first: an idle login ends after 180 days.")
    ] = False,
    json: Record = False,
    place: Place = _HERE,
) -> int:
    """Tell who has logged in, for what, and until when."""
    from .login import whoami as command

    return await command(place.path(), refresh=refresh, as_json=json)


@app.command
async def sandbox(
    *,
    port: Annotated[int, Parameter(help="On 127.0.0.1; 0 takes a free one.", validator=Number(gte=0, lte=65535))] = 0,
    speed: Annotated[
        float, Parameter(help="How many times faster than life the jobs are.", validator=Number(gt=0))
    ] = 1.0,
    jobs: Annotated[
        int, Parameter(help="How many imports there are from the start.", validator=Number(gte=0, lte=1000))
    ] = 20,
    token_life: Annotated[
        float, Parameter(metavar="SECONDS", help="How long an access token of a login lives.", validator=_LIFE)
    ] = 86_400.0,
    fault: Annotated[list[str] | None, Parameter(metavar="NAME[:CHANCE]", help=_FAULT)] = None,
) -> int:
    """Serve a simulated vendor until Ctrl-C."""
    from .sandbox_command import Plan, serve

    return await serve(Plan(port=port, speed=speed, jobs=jobs, token_life=token_life, faults=tuple(fault or ())))


@app.command
async def demo(*, imports: Annotated[int, Parameter(help="How many.", validator=Number(gte=1, lte=500))] = 30) -> int:
    """Watch simulated imports; needs no account."""
    from .demo import demo as command

    return await command(imports)


@app.command
def completion(shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(help="Which shell.")], /) -> int:
    """Print the completion script of a shell."""
    sys.stdout.write(app.generate_completion(shell=shell))
    return 0


def run(arguments: Sequence[str]) -> int:
    """Carry out a command line and return its exit code."""
    try:
        code: int | None = app(arguments)
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except Exception as error:
        from .exit_codes import Expected, complain

        if not isinstance(error, Expected):
            raise
        return complain(error)
    return code or 0
