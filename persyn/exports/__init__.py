"""Exports a run: its training set as files that a fine-tuning library reads."""

from persyn.exports.manifest import ExportedFile, Manifest
from persyn.exports.write import export_run

__all__ = ["ExportedFile", "Manifest", "export_run"]
