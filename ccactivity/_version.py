"""The version: read by the build, by the session and by `ccactivity.oauth`."""

__all__ = ["__version__"]

__version__ = "0.1.0"
