"""The only way to run the checks, for people and for CI alike.

- `nox` is what a change needs before it is pushed, in about four minutes on two cores.
- `nox -t all` is what CI runs beside it: the suite on the other Pythons and with other dependencies, what is marked
  `long`, the hundred simulated hours, the documentation and its examples, the vendor's own SDK.
- What measures (`economy`, `bench`, `hostile`, `fleet`, `imports`, `page`) or soaks (`soak`, `token_soak`) runs by its
  name only.
- `nox -s NAME` is one session, `nox --list` names them.

Nothing here downloads an interpreter. The suite runs on the Python that runs nox, and with `-t all` on every other
supported one that is found on this machine; those that are missing are named in a warning.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import nox

PROJECT = nox.project.load_toml("pyproject.toml")
DEPENDENCIES: list[str] = PROJECT["project"]["dependencies"]
CONTRACTS = PROJECT["tool"]["importlinter"]["contracts"]
PURE = [  # files of the modules whose every branch is tested
    f"{module.replace('.', '/')}.py"
    for contract in CONTRACTS
    if contract["name"].startswith("the core is pure")
    for module in contract["source_modules"]
]
EXTRAS: list[str] = [one for extra in PROJECT["project"]["optional-dependencies"].values() for one in extra]

os.environ["UV_PYTHON_DOWNLOADS"] = "never"

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "arch", "build", "tests", "sim_short"]
LONG = ["all"]  # the tag of the sessions that CI runs beside these


def find_python(version: str) -> str | None:
    """Return the folder of a working interpreter of `version` ("3.12"), None when there is none."""
    name = f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    candidates = [sys.executable, shutil.which(name), *sorted(map(str, pyenv.glob(f"{version}.*/bin/{name}")))]
    question = "import sys; print('%d.%d' % sys.version_info[:2], sys._base_executable)"
    for candidate in filter(None, candidates):
        # A shim of pyenv is on the PATH for versions that it will not run, so asking is the only way to know.
        answer = subprocess.run([candidate, "-c", question], capture_output=True, text=True, check=False)
        found, _, executable = answer.stdout.strip().partition(" ")
        if answer.returncode == 0 and found == version and Path(executable).with_name(name).exists():
            return str(Path(executable).parent)
    return None


def find_pythons() -> list[str]:
    """Return the supported versions that are here, oldest first, after putting them on the PATH."""
    versions = nox.project.python_versions(PROJECT)
    folders = {version: find_python(version) for version in versions}
    present = {version: folder for version, folder in folders.items() if folder}
    os.environ["PATH"] = os.pathsep.join([*dict.fromkeys(present.values()), os.environ["PATH"]])
    if missing := sorted(folders.keys() - present.keys()):
        print(f"nox > the suite will not run on Python {', '.join(missing)}: not found", file=sys.stderr)
    return list(present) or [f"{sys.version_info.major}.{sys.version_info.minor}"]


PYTHONS = find_pythons()
OWN = f"{sys.version_info.major}.{sys.version_info.minor}"
PYTHON = OWN if OWN in PYTHONS else PYTHONS[-1]


def group(name: str) -> list[str]:
    """Return the requirements of a dependency group of pyproject.toml."""
    return list(nox.project.dependency_groups(PROJECT, name))


def run_suite(session: nox.Session, *command: str) -> None:
    """Run the suite on all cores; without what takes long, unless told which tests."""
    chosen = session.posargs or ("-m", "not long")
    session.run(*command, "--numprocesses=auto", "--dist=worksteal", *chosen)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of everything, and those of the public API as users see them."""
    session.install(".[cli,fleet,oauth,otel,prometheus]", *group("types"))
    session.run("mypy")
    session.run("pyright", "tests/typing")
    session.run("pyright", "--verifytypes", "ccactivity", "--ignoreexternal")


@nox.session
def arch(session: nox.Session) -> None:
    """Check that imports point one way."""
    session.install(*group("arch"))
    session.run("lint-imports", "--no-logo")


@nox.session
def build(session: nox.Session) -> None:
    """Build sdist and wheel, look into both, and use the wheel in an empty environment."""
    session.install(*group("build"))
    place = Path(session.create_tmp())
    shutil.rmtree(place)
    place.mkdir()
    with_uv = session.venv_backend == "uv"
    installer = "uv" if with_uv else "pip"
    session.run("python", "-m", "build", "--installer", installer, "--outdir", str(place), silent=True)

    (wheel,), (sdist,) = place.glob("*.whl"), place.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        inside = {Path(name).parts[0] for name in archive.namelist()}
        names = archive.namelist()
    if inside != {"ccactivity", wheel.name.removesuffix("-py3-none-any.whl") + ".dist-info"}:
        session.error(f"the wheel holds more or less than the package: {sorted(inside)}")
    for needed in ("py.typed", "web/static/page.html", "web/static/page.css", "web/static/page.js"):
        if f"ccactivity/{needed}" not in names:
            session.error(f"the wheel lacks {needed}")
    with tarfile.open(sdist) as source:
        inside = {Path(name).parts[1] for name in source.getnames() if len(Path(name).parts) > 1}
    if not {"ccactivity", "tests", "noxfile.py", "pyproject.toml", "README.md", "LICENSE"} <= inside:
        session.error(f"the sdist lacks something: {sorted(inside)}")

    empty = place / "empty"
    session.run(*(("uv", "venv", "--quiet") if with_uv else ("python", "-m", "venv")), str(empty))
    python = next(path for path in empty.glob("*/python*") if path.is_file())
    if with_uv:
        session.run("uv", "pip", "install", "--quiet", "--python", str(python), str(wheel))
    else:
        session.run(str(python), "-m", "pip", "install", "--quiet", str(wheel), external=True)
    # -I: what is imported is what was installed, not what lies in this folder.
    session.run(str(python), "-I", "-c", "import ccactivity.sandbox, ccactivity.testing", external=True)
    session.run(str(python), "-I", "-m", "ccactivity", "--help", external=True)
    # Without the extra, which is not installed here, a command says in one line what is missing.
    session.run(str(python), "-I", "-m", "ccactivity", "list", external=True, success_codes=[2])


@nox.session(tags=LONG)
def docs(session: nox.Session) -> None:
    """Build the pages of docs/ into .nox/docs/tmp/html; a warning is an error, and nothing is loaded from elsewhere."""
    session.install(".[cli,fleet,oauth,otel,prometheus]", *group("docs"))
    place = session.create_tmp()
    session.run("sphinx-build", "--fail-on-warning", "--keep-going", "--nitpicky", "-E", "docs", f"{place}/html")


@nox.session(tags=LONG)
def examples(session: nox.Session) -> None:
    """Check the types of docs/examples, and run each of them in a process of its own."""
    session.install("-e", ".[oauth]", *group("examples"))
    files = [*sorted(Path("docs/examples").glob("*.py")), "tests/examples/test_framework_examples.py"]
    session.run("mypy", *map(str, files), env={"MYPYPATH": "tests"})
    session.run("pytest", "--numprocesses=auto", "tests/examples", *session.posargs)


@nox.session(tags=LONG)
def browser(session: nox.Session) -> None:
    """Test the live page in a Chromium that is on the PATH; without one that is skipped, or fails where CI is set."""
    session.install("-e", ".", *group("browser"))
    session.run("mypy", *map(str, Path("tests/web").glob("*.py")), env={"MYPYPATH": "tests"})
    session.run("pytest", "tests/web", *session.posargs)


@nox.session
def page(session: nox.Session) -> None:
    """Measure the live page in a Chromium against its targets; three minutes. `-- --pictures` draws those of docs/."""
    session.install("-e", ".", *group("browser"))
    session.run("python", "benchmarks/page.py", *session.posargs)


@nox.session(python=PYTHON)
def tests(session: nox.Session) -> None:
    """Run the suite with the coverage of branches; without it when told which tests: `-- -k NAME`."""
    session.install("-e", ".[cli,fleet,oauth]", *group("test"))
    if session.posargs:
        run_suite(session, "pytest")
        return
    session.run("coverage", "erase")
    # Not pytest-cov: pytest loads our plugin, and with it the package, before that would begin to measure.
    run_suite(session, "coverage", "run", "-m", "pytest")
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")
    session.run("coverage", "report", "--fail-under=100", "--include", ",".join(PURE))


@nox.session(tags=LONG)
def long(session: nox.Session) -> None:
    """Run the tests that take longest: fleets of real processes that are killed, and worlds that cannot be trusted."""
    session.install("-e", ".[cli,fleet,oauth]", *group("test"))
    # The order of sets decides in which world a planted bug shows.
    session.run("pytest", "--numprocesses=auto", "-m", "long", *session.posargs, env={"PYTHONHASHSEED": "0"})


@nox.session(python=[python for python in PYTHONS if python != PYTHON], tags=LONG)
def other_pythons(session: nox.Session) -> None:
    """Run the suite on each of the other Pythons, in asyncio's debug mode."""
    session.install("-e", ".[cli,fleet,oauth]", *group("test"))
    run_suite(session, "pytest")


@nox.session(python=[python for python in PYTHONS[-1:] if python != "3.11"], tags=LONG)
def eager(session: nox.Session) -> None:
    """Run what has tasks with those that start eagerly (`asyncio.eager_task_factory`), on the newest Python."""
    session.install("-e", ".[cli,fleet,oauth]", *group("test"))
    session.env["CCACTIVITY_TEST_EAGER"] = "1"
    folders = ("api", "fleet", "oauth", "polling", "ratelimit", "web")
    run_suite(session, "pytest", "tests/scenarios", "tests/simulation", *(f"tests/unit/{name}" for name in folders))


@nox.session(python=PYTHONS[0], tags=LONG)
def oldest(session: nox.Session) -> None:
    """Run the suite with the lowest versions of the dependencies that pyproject.toml allows."""
    lowest = [requirement.replace(">=", "==") for requirement in (*DEPENDENCIES, *EXTRAS)]
    session.install("-e", ".", *group("test"), *lowest)
    # The contracts are about the source alone, and the linter of imports needs a newer rich; so do the pictures.
    run_suite(session, "pytest", "--ignore=tests/test_architecture.py", "--ignore=tests/test_pictures.py")


@nox.session(python=PYTHONS[0], tags=LONG)
def backoff_fork(session: nox.Session) -> None:
    """Run what sends requests with python-backoff, and without backoff: both own the same folder."""
    others = [requirement for requirement in DEPENDENCIES if not requirement.startswith("backoff")]
    session.install(*others, *EXTRAS, "python-backoff", *group("test"))
    session.install("--no-deps", "-e", ".")
    run_suite(session, "pytest", "tests/unit/api", "tests/scenarios", "tests/simulation")


def simulate(session: nox.Session, *arguments: str) -> None:
    """Run the simulation; the order of sets is part of a replay."""
    session.install("-e", ".")
    session.run("python", "-m", "simulation", *arguments, env={"PYTHONHASHSEED": "0", "PYTHONPATH": "tests"})


@nox.session
def sim_short(session: nox.Session) -> None:
    """Simulate the client for ten hours of virtual time."""
    simulate(session, "--hours", "10")


@nox.session(tags=LONG)
def sim(session: nox.Session) -> None:
    """Simulate the client for 100 hours of virtual time; `-- --hours N` goes on, `-- --seed N` replays one seed."""
    simulate(session, *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Watch 2,000 imports with churn and faults for ten real minutes; `-- --minutes N` for another time."""
    session.install("-e", ".")
    session.run("python", "tests/simulation/soak.py", *session.posargs)


@nox.session
def economy(session: nox.Session) -> None:
    """Measure what watching costs, beside the polling of others; half an hour. `-- --quick` for a minute of it."""
    session.install("-e", ".")
    session.run("python", "benchmarks/economy.py", *session.posargs)


@nox.session
def pictures(session: nox.Session) -> None:
    """Draw the pictures of README.md and docs/ into docs/images/; seconds. A test fails while they are out of date."""
    session.install("-e", ".[cli]")
    session.run("python", "benchmarks/pictures.py")


@nox.session
def hostile(session: nox.Session) -> None:
    """Measure what wrong clocks, failing ids and endless lists do to the others; ten minutes. `-- --quick` for less."""
    session.install("-e", ".")
    session.run("python", "benchmarks/hostile.py", *session.posargs)


@nox.session(python=PYTHONS[0])
def token_soak(session: nox.Session) -> None:
    """Have eight processes share one login for a minute, and for another one in which they are killed at random."""
    session.install("-e", ".[oauth]")
    session.run("python", "benchmarks/token_processes.py", *session.posargs)
    session.run("python", "benchmarks/token_processes.py", "--kill", *session.posargs)


@nox.session
def fleet(session: nox.Session) -> None:
    """Measure a fleet of processes against its targets, with a server of Redis; ten minutes. `-- --quick` for five."""
    session.install("-e", ".[cli,fleet,oauth]", *group("test"))
    session.run("python", "benchmarks/fleet.py", *session.posargs)
    session.run("python", "-m", "simulation.test_fleet_scripts", env={"PYTHONPATH": "tests"})


@nox.session
def imports(session: nox.Session) -> None:
    """Measure imports, submissions and exports against their targets; ten minutes. `-- --quick` for two."""
    session.install("-e", ".[cli]", *group("test"), *group("imports"))
    for program in ("splitting", "submissions", "imports", "exports"):
        session.run("python", f"benchmarks/{program}.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure what the client itself costs, beside the vendor's SDK and the bare libraries; a minute or two."""
    session.install("-e", ".[cli]", *group("bench"))
    session.run("python", "benchmarks/cost.py", *session.posargs)


@nox.session(tags=LONG)
def conformance(session: nox.Session) -> None:
    """Let the vendor's own SDK judge the sandbox, and compare what it reads with what this client reads."""
    session.install("-e", ".[cli]", *group("conformance"))
    session.run("pytest", "tests/conformance", *session.posargs)
