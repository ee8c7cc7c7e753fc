"""The commands and their options, as cyclopts reads them. Each command imports what it needs when it runs.

A session of the library, and rich, take longer to import than a person likes to wait for `--help`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import attrs
from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number

from ccactivity import __version__

from .no_extra import DESCRIPTION

if TYPE_CHECKING:
    from .session import SessionOpening

__all__ = ["app", "run"]

_EPILOGUE = (
    "Exit codes: 0 all well, 1 an activity failed, could not be followed, did not end in time, or refused rows, "
    "2 wrong usage, 3 the API refused or could not be reached, 4 the output could not be written, "
    "130 interrupted by Ctrl-C, 143 ended by SIGTERM."
)


app: App = App(
    name="ccactivity",
    help=f"{DESCRIPTION}\n\nTry it with `ccactivity demo`, which needs no account, or begin with `ccactivity login`.",
    help_epilogue=_EPILOGUE,
    help_format="plaintext",
    version=__version__,
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # `main` does that
    default_parameter=Parameter(negative=()),
)
app.register_install_completion_command(help="Install completion for your shell.")
app["--install-completion"].group = app["--help"].group


def _flag(name: str, help_text: str, **more: Any) -> Parameter:
    return Parameter(name=name, help=help_text, show_default=False, **more)


def _value(metavar: str, help_text: str, **more: Any) -> Parameter:
    return Parameter(metavar=metavar, help=help_text, **more)


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class LoginOptions:
    """Options of every command that uses an account."""

    store: Annotated[
        Path | None,
        _value("FILE", "File with the login. Default: CCACTIVITY_TOKEN_STORE, else one in your home folder."),
    ] = None
    verbose: Annotated[bool, _flag("--verbose", "Show each request and decision on stderr.", alias="-v")] = False

    def __attrs_post_init__(self) -> None:
        if self.verbose:
            from .logs import show_whole_log

            show_whole_log()


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class ApiOptions(LoginOptions):
    """Options of every command that asks the API."""

    token_file: Annotated[
        Path | None, _value("FILE", "File with an access token. Default: CCACTIVITY_ACCESS_TOKEN, else the login.")
    ] = None
    base_url: Annotated[
        str | None, _value("URL", "URL of the API. Default: CCACTIVITY_BASE_URL, else that of Constant Contact.")
    ] = None

    fleet: Annotated[
        str | None,
        Parameter(metavar="URL", help="Redis or Valkey that shares the quota; else CCACTIVITY_FLEET_URL, else none."),
    ] = None

    def session(self) -> SessionOpening:
        """Return the session that the options ask for, to be entered."""
        from .session import open_session

        return open_session(token_file=self.token_file, store=self.store, base_url=self.base_url, fleet_url=self.fleet)


def _read_seconds(_: type, tokens: Sequence[Any]) -> float:
    try:
        return float(tokens[0].value)
    except ValueError:
        raise ValueError(f"{tokens[0].value!r} is not a number of seconds, as in 14400") from None


def _seconds(help_text: str, validator: Number) -> Parameter:
    return _value("SECONDS", help_text, converter=_read_seconds, validator=validator)


JsonLines = Annotated[bool, _flag("--json", "Print JSON, one object per line.")]
JsonObject = Annotated[bool, _flag("--json", "Print one JSON object.")]
Csv = Annotated[bool, _flag("--csv", "Print CSV with a header line.")]
State = Literal["initialized", "processing", "completed", "cancelled", "failed", "timed_out"]
JobKind = Literal[
    "add_list_memberships",
    "contact_delete",
    "contact_exports",
    "contacts_json_import",
    "contacts_taggings_add",
    "contacts_taggings_remove",
    "contacts_tags_delete",
    "custom_fields_delete",
    "list_delete",
    "remove_list_memberships",
]
_BODY_HELP = "Body of the job, as the API documents it; - reads it from stdin, where no other user sees it."
_STATE_HELP = "Only those in this state. The API cannot filter for initialized, so for that the whole list is read."
_FROM_HELP = "Read one id per line; - reads from stdin. Blank lines and lines that start with # are skipped."
_REDIRECT_URI_HELP = (
    "Where a web login may come back to, beside http addresses of this machine, which are accepted. May be repeated."
)
_FAULT_HELP = "A fault, such as 503, throttled, hang, reset; 503:0.2 hits one request in five. May be repeated."
_POSITIVE = Number(gt=0)
_TOKEN_LIFE_S = Number(gte=1, lte=10**9)
_NO_API_OPTIONS = ApiOptions()
_NO_LOGIN_OPTIONS = LoginOptions()


@app.command(name="list")
async def list_(
    *,
    state: Annotated[State | None, Parameter(help=_STATE_HELP)] = None,
    limit: Annotated[int | None, _value("ROWS", "Print at most this many activities.", validator=Number(gte=1))] = None,
    json: JsonLines = False,
    csv: Csv = False,
    options: ApiOptions = _NO_API_OPTIONS,
) -> int:
    """List the activities of the last ten days."""
    from . import commands, output

    form = output.output_format(json=json, csv=csv)
    return await commands.list_(options.session(), form, state=state, limit=limit)


@app.command(usage="Usage: ccactivity get [OPTIONS] ID...")
async def get(
    ids: Annotated[list[str], Parameter(name="ID", help="Ids of the activities.")],
    /,
    *,
    json: JsonLines = False,
    csv: Csv = False,
    options: ApiOptions = _NO_API_OPTIONS,
) -> int:
    """Show activities by their ids, as they are now."""
    from . import commands, output

    return await commands.get(options.session(), output.output_format(json=json, csv=csv), ids)


@app.command(usage="Usage: ccactivity watch [OPTIONS] [ID...]")
async def watch(
    ids: Annotated[list[str] | None, Parameter(name="ID", help="Ids of the activities.")] = None,
    /,
    *,
    source: Annotated[
        str | None,
        _value("FILE", _FROM_HELP, name="--from", allow_leading_hyphen=True),
    ] = None,
    everything: Annotated[bool, _flag("--all", "Watch all that have not ended.")] = False,
    timeout: Annotated[float | None, _seconds("Stop watching what has not ended after this time.", _POSITIVE)] = None,
    max_staleness: Annotated[
        float | None, _seconds("Look at least this often, while requests are left.", _POSITIVE)
    ] = None,
    web: Annotated[bool, _flag("--web", "Serve a live page of them to this machine, too.")] = False,
    json: JsonLines = False,
    options: ApiOptions = _NO_API_OPTIONS,
) -> int:
    """Watch activities until all have ended."""
    from . import commands

    return await commands.watch(
        options.session(),
        ids or (),
        source=source,
        everything=everything,
        timeout=timeout,
        max_staleness=max_staleness,
        as_json=json,
        web=web,
    )


@app.command(usage="Usage: ccactivity serve [OPTIONS] [ID...]")
async def serve(
    ids: Annotated[list[str] | None, Parameter(name="ID", help="Ids of the activities.")] = None,
    /,
    *,
    everything: Annotated[bool, _flag("--all", "Show all activities of the last ten days, and new ones.")] = False,
    host: Annotated[str, Parameter(help="Where to listen; beyond this machine only with a password.")] = "127.0.0.1",
    port: Annotated[
        int, Parameter(help="Where to listen; 0 picks a free one.", validator=Number(gte=0, lte=65535))
    ] = 0,
    page_token_file: Annotated[
        Path | None, _value("FILE", "File with the password that a browser has to give for the page.")
    ] = None,
    options: ApiOptions = _NO_API_OPTIONS,
) -> None:
    """Serve a live page of activities until Ctrl-C or SIGTERM."""
    from .web import serve as command

    await command(options.session(), ids or (), everything=everything, host=host, port=port, page_token=page_token_file)


@app.command(name="import")
async def import_(
    file: Annotated[Path, Parameter(help="CSV file of contacts, with a header.")],
    /,
    *,
    lists: Annotated[
        list[str], _value("ID", "Add the contacts to this list. May be repeated.", name="--list", negative=())
    ],
    check: Annotated[bool, _flag("--check", "Check the file and send nothing; needs no token.")] = False,
    rejects: Annotated[Path | None, _value("FILE", "Write the rows that were refused here.")] = None,
    journal: Annotated[
        Path | None, _value("FILE", "Keep each step here; the same command goes on where it was killed.")
    ] = None,
    no_wait: Annotated[bool, _flag("--no-wait", "End when all is sent, and print the ids.")] = False,
    encoding: Annotated[str, _value("NAME", "Encoding of the file, such as cp1252.")] = "utf-8-sig",
    duplicates: Annotated[
        Literal["warn", "refuse", "keep-last"], Parameter(help="What to do about rows with the same address.")
    ] = "warn",
    problems: Annotated[
        Literal["refuse", "send"], Parameter(help="What to do if there are rows that the vendor would not take.")
    ] = "refuse",
    json: JsonLines = False,
    options: ApiOptions = _NO_API_OPTIONS,
) -> int:
    """Import a file of contacts of any size, and say which rows were refused."""
    from . import imports

    if check:
        return imports.check(file, list_ids=lists, encoding=encoding, duplicates=duplicates, as_json=json)
    return await imports.import_(
        options.session(),
        file,
        list_ids=lists,
        rejects=rejects,
        journal=journal,
        wait=not no_wait,
        encoding=encoding,
        duplicates=duplicates,
        problems=problems,
        as_json=json,
    )


@app.command
async def history(
    campaign_activity_id: Annotated[str, Parameter(help="Campaign activity id of the email.")],
    /,
    *,
    json: JsonLines = False,
    csv: Csv = False,
    options: ApiOptions = _NO_API_OPTIONS,
) -> int:
    """Show each send of an email, and whether it worked."""
    from . import commands, output

    return await commands.history(options.session(), output.output_format(json=json, csv=csv), campaign_activity_id)


@app.command(usage="Usage: ccactivity export [OPTIONS] [ID] -o FILE")
async def export(
    activity_id: Annotated[str | None, Parameter(name="ID", help="Id of an export, instead of a new one.")] = None,
    /,
    *,
    output: Annotated[
        str,
        _value("FILE", "Where to save it; - writes to stdout.", name=["--output", "-o"], allow_leading_hyphen=True),
    ],
    lists: Annotated[
        list[str] | None, _value("ID", "Export the contacts of this list. May be repeated.", name="--list")
    ] = None,
    everyone: Annotated[bool, _flag("--all", "Export all contacts.")] = False,
    overwrite: Annotated[bool, _flag("--overwrite", "Replace FILE if it is there.")] = False,
    timeout: Annotated[float | None, _seconds("Stop waiting for the vendor after this time.", _POSITIVE)] = None,
    json: JsonObject = False,
    options: ApiOptions = _NO_API_OPTIONS,
) -> int:
    """Export contacts to a CSV file."""
    from .exports import export as command

    return await command(
        options.session(),
        activity_id,
        lists=lists or (),
        everyone=everyone,
        output=output,
        overwrite=overwrite,
        timeout=timeout,
        as_json=json,
    )


@app.command(usage="Usage: ccactivity submit KIND --json BODY [OPTIONS]")
async def submit(
    kind: Annotated[JobKind, Parameter(name="KIND", help="What is to be done.")],
    /,
    *,
    body: Annotated[str, _value("BODY", _BODY_HELP, name="--json", allow_leading_hyphen=True)],
    yes: Annotated[bool, _flag("--yes", "Delete without asking; needed where nobody can be asked.")] = False,
    form: Annotated[
        Literal["table", "json", "csv"], Parameter(name="--format", help="How the activity is printed.")
    ] = "table",
    options: ApiOptions = _NO_API_OPTIONS,
) -> int:
    """Submit a job, and show the activity that it has become."""
    from .output import OutputFormat
    from .submit import submit as command

    return await command(options.session(), kind, body, yes=yes, form=OutputFormat(form))


@app.command
async def login(
    *,
    client_id: Annotated[
        str | None,
        _value("ID", "API key of your application. Default: CCACTIVITY_CLIENT_ID, else that of the last login."),
    ] = None,
    scope: Annotated[
        list[str] | None, _value("SCOPE", "Ask for this instead of all scopes that the commands need. May be repeated.")
    ] = None,
    oauth_url: Annotated[
        str | None,
        _value("URL", "URL of the login server. Default: CCACTIVITY_OAUTH_URL, else that of Constant Contact."),
    ] = None,
    json: JsonObject = False,
    options: LoginOptions = _NO_LOGIN_OPTIONS,
) -> int:
    """Log in with a browser, on this device or another."""
    from .login import login as command

    return await command(options.store, client_id=client_id, oauth_url=oauth_url, scopes=scope or (), as_json=json)


@app.command
async def logout(*, options: LoginOptions = _NO_LOGIN_OPTIONS) -> int:
    """Delete the login that is stored on this machine."""
    from .login import logout as command

    return await command(options.store)


@app.command
async def whoami(
    *,
    refresh: Annotated[
        bool, _flag("--refresh", "Refresh it first: a login that is not used ends after 180 days.")
    ] = False,
    json: JsonObject = False,
    options: LoginOptions = _NO_LOGIN_OPTIONS,
) -> int:
    """Show who is logged in, with which scopes, and until when."""
    from .login import whoami as command

    return await command(options.store, refresh=refresh, as_json=json)


@app.command
async def sandbox(
    *,
    port: Annotated[int, Parameter(help="On 127.0.0.1; 0 picks a free one.", validator=Number(gte=0, lte=65535))] = 0,
    speed: Annotated[
        float, Parameter(help="Run jobs this many times faster than in reality.", validator=Number(gt=0))
    ] = 1.0,
    jobs: Annotated[
        int, Parameter(help="Imports submitted at the start, at most 100,000.", validator=Number(gte=0, lte=100_000))
    ] = 20,
    workers: Annotated[
        int, Parameter(help="How many of them run at once, at most 10,000.", validator=Number(gte=1, lte=10_000))
    ] = 8,
    seed: Annotated[int, Parameter(help="Seed of all that is drawn: how long imports take, and how they end.")] = 0,
    token_life: Annotated[float, _seconds("Lifetime of the access token of a login.", _TOKEN_LIFE_S)] = 86_400.0,
    redirect_uri: Annotated[list[str] | None, Parameter(metavar="URI", help=_REDIRECT_URI_HELP)] = None,
    fault: Annotated[list[str] | None, Parameter(metavar="NAME[:CHANCE]", help=_FAULT_HELP)] = None,
    verbose: Annotated[bool, _flag("--verbose", "Print a line on stderr for each request.", alias="-v")] = False,
) -> None:
    """Run a simulated vendor on this machine until Ctrl-C or SIGTERM."""
    from .sandbox_command import serve

    await serve(
        port=port,
        speed=speed,
        jobs=jobs,
        workers=workers,
        seed=seed,
        token_life=token_life,
        redirect_uris=redirect_uri or (),
        faults=fault or (),
        log_requests=verbose,
    )


@app.command
async def demo(
    *,
    imports: Annotated[int, Parameter(help="Number of imports.", validator=Number(gte=1, lte=500))] = 30,
    web: Annotated[bool, _flag("--web", "Serve a live page of them to this machine, too.")] = False,
) -> int:
    """Watch simulated imports; needs no account."""
    from .demo import demo as command

    return await command(imports, web=web)


fleet: App = App(name="fleet", help="Processes that share one API key.")
app.command(fleet)


@fleet.command(name="status")
async def fleet_status(
    url: Annotated[str | None, Parameter(help="Of Redis or Valkey; else CCACTIVITY_FLEET_URL.")] = None,
    /,
    *,
    json: JsonObject = False,
) -> int:
    """Show who is part of a fleet, who polls, and what is spent."""
    from .fleet import status

    return await status(url, as_json=json)


@app.command
def completion(shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(help="Your shell.")], /) -> int:
    """Print the completion script for a shell."""
    sys.stdout.write(app.generate_completion(shell=shell))
    return 0


def run(arguments: Sequence[str]) -> int:
    """Carry out a command line and return its exit code."""
    from .logs import log_on_stderr

    try:
        with log_on_stderr():
            code: int | None = app(arguments, print_error=False, exit_on_error=False)
    except Exception as error:
        from .exit_codes import EXPECTED_ERRORS, UsageError, print_error

        if isinstance(error, CycloptsError):
            code = print_error(UsageError(error))
        elif isinstance(error, EXPECTED_ERRORS):
            code = print_error(error)
        else:
            raise
    return code or 0
