"""Pushes an export to a data set of the Hugging Face hub: its files and no other, in one commit.

The token comes from the environment alone. Nothing keeps it, and every text masks it.
"""

import importlib
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from persyn import secrets
from persyn.errors import ConfigError, MissingExtra, PersynError
from persyn.exports.manifest import Manifest
from persyn.exports.write import MANIFEST
from persyn.text import one_line

TOKEN = "HF_TOKEN"

# The hub's own rule for both parts of a name.
_NAME = re.compile(r"(?!.*(?:--|\.\.))[A-Za-z0-9][\w.-]*/[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?", re.ASCII)
_ADVICE = {
    401: f"the hub does not know the token in {TOKEN}; make one that may write",
    403: f"the token in {TOKEN} may not write there",
    404: "there is no such owner or data set, or the token may not see it",
}


class Repository(NamedTuple):
    """A data set on the hub that may be written to, as far as this host can tell."""

    name: str  # OWNER/NAME
    private: bool  # whether nobody else may read it
    client: Any  # the package huggingface_hub
    api: Any


def repository(name: str, *, private: bool = False) -> Repository:
    """The data set of this name, nothing asked yet. Raises ConfigError, and MissingExtra without the library."""
    if not _NAME.fullmatch(name) or name.endswith(".git"):
        raise ConfigError(f"--push: got {name!r}; expected OWNER/NAME of a data set on the hub, such as jane/maths.")
    token = os.environ.get(TOKEN, "").strip()
    if not token:
        raise ConfigError(f"--push: {TOKEN} is not set. Put a token of the hub that may write into the environment.")
    secrets.know(token)
    try:
        client = importlib.import_module("huggingface_hub")
    except ImportError:
        raise MissingExtra(
            "--push: the library `huggingface_hub` writes to the hub, which is not installed. Install persyn[hub]."
        ) from None
    if not sys.stderr.isatty():
        importlib.import_module("huggingface_hub.utils").disable_progress_bars()
    return Repository(name, private, client, client.HfApi(token=token))


def push(to: Repository, folder: Path, manifest: Manifest) -> str:
    """Commit the export in this folder and return the commit's address; a data set that does not exist is made.

    Files of the export that was pushed before go, unless they have a successor. Raises ConfigError where a private data
    set is wanted and a public one is there, PersynError where the hub says no or cannot be reached; the folder stays.
    """
    http_error = importlib.import_module("huggingface_hub.errors").HTTPError  # of the client that it has
    names = [*(file.name for file in manifest.files), *manifest.documents, MANIFEST]
    try:
        to.api.create_repo(to.name, repo_type="dataset", private=to.private or None, exist_ok=True)
        there = to.api.dataset_info(to.name)
        if to.private and not there.private:
            raise ConfigError(
                f"--private: the data set {to.name} is there already, and public. Make it private on the hub, leave"
                f" --private out, or push to another name; the export is in {folder}."
            )
        operations = [to.client.CommitOperationAdd(name, str(folder / name)) for name in names]
        present = {file.rfilename for file in there.siblings or []}
        operations += [
            to.client.CommitOperationDelete(name) for name in sorted(_pushed_before(to, present) & present - {*names})
        ]
        commit = to.api.create_commit(
            to.name, operations, repo_type="dataset", commit_message=f"Export of the run {manifest.run} by PerSyn"
        )
    except (http_error, OSError, ValueError, RuntimeError) as exc:
        raise PersynError(
            f"{to.name}: the export was not pushed: {_why(exc)}. It is whole in {folder}; the same command pushes it"
            " again."
        ) from exc
    return str(commit.commit_url)


def _pushed_before(to: Repository, present: set[str]) -> set[str]:
    """The names in the manifest that stands there; none where it is none of ours."""
    if MANIFEST not in present:
        return set()
    with tempfile.TemporaryDirectory() as folder:
        path = to.api.hf_hub_download(to.name, MANIFEST, repo_type="dataset", local_dir=folder)
        try:
            manifest = json.loads(Path(path).read_bytes())
            return {*(file["name"] for file in manifest["files"]), *manifest["documents"]}
        except (ValueError, TypeError, KeyError, AttributeError):
            return set()


def _why(exc: Exception) -> str:
    status = getattr(getattr(exc, "response", None), "status_code", None)
    if status in _ADVICE:
        return f"{_ADVICE[status]} ({status})"
    told = one_line(str(exc), 300) or type(exc).__name__
    inside = exc.__cause__ if isinstance(exc, RuntimeError) else None  # it says which file, its cause why
    return told if inside is None else f"{told}: {one_line(str(inside), 300)}"
