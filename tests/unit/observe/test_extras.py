"""Without the extras `otel` and `prometheus`."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ccactivity import observe


def test_a_missing_package_is_named_with_the_extra_that_brings_it() -> None:
    """The module itself can be imported, and what needs a package says what to install."""
    program = (
        "import sys\n"
        "sys.modules['opentelemetry'] = sys.modules['prometheus_client'] = None\n"
        "import ccactivity.observe\n"
        "for name in ccactivity.observe.__all__:\n"
        "    try: getattr(ccactivity.observe, name)\n"
        "    except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert (
        "ccactivity.observe.OpenTelemetry needs the package opentelemetry: pip install 'ccactivity[otel]'\n"
        "ccactivity.observe.prometheus_collector needs the package prometheus_client: "
        "pip install 'ccactivity[prometheus]'\n"
    ) == done.stdout, done.stderr


def test_what_a_package_lacks_itself_is_not_blamed_on_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is there, and cannot import one of its own needs, raises the error as it is."""
    monkeypatch.setitem(sys.modules, "urllib.parse", None)
    monkeypatch.delitem(sys.modules, "ccactivity.observe.opentelemetry", raising=False)

    with pytest.raises(ModuleNotFoundError, match=r"urllib\.parse"):
        observe.OpenTelemetry  # noqa: B018 -- asking for it is what imports it


def test_other_names_are_not_there() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        observe.nothing  # type: ignore[attr-defined]  # noqa: B018 -- asking for it is all there is to it
