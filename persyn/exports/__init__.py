"""Exports a run: its training set as files that a fine-tuning library reads."""

from persyn.exports.write import ExportedFile, Manifest, export_run

__all__ = ["ExportedFile", "Manifest", "export_run"]
