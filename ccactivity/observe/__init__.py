"""What an operator sees: traces and metrics of a session, by OpenTelemetry or Prometheus.

They need the extras `otel` and `prometheus`: `pip install 'ccactivity[otel]'`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .opentelemetry import OpenTelemetry
    from .prometheus import prometheus_collector

__all__ = ["OpenTelemetry", "prometheus_collector"]

if not TYPE_CHECKING:  # a type checker would take any name for one that is there
    # Each with its module, the package that it needs, and the extra that has it.
    _HOMES = {
        "OpenTelemetry": (".opentelemetry", "opentelemetry", "otel"),
        "prometheus_collector": (".prometheus", "prometheus_client", "prometheus"),
    }

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home, package, extra = _HOMES[name]
        try:
            module = import_module(home, __name__)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != package:
                raise
        else:
            return getattr(module, name)
        raise ImportError(f"{__name__}.{name} needs the package {package}: pip install 'ccactivity[{extra}]'")
