"""Saving the files of exports: streamed to disk, whole or not there. `ExportFile` is what `save_export` returns."""

from .download import ExportFile

__all__ = ["ExportFile"]
