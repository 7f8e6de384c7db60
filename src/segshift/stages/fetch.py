"""Bring one weights file to where the workflow expects it, from the user's folder, a package, or the web."""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from segshift import download, records
from segshift.errors import SegShiftError
from segshift.paths import Results
from segshift.weights import sha256

FILE = "model.safetensors"  # of a hub's repository, where the entry names no other


def run(name: str, entry: dict[str, Any], folder: Path | None, results: Results) -> None:
    """Place a weights file below ``results``, from the first of these that there is: folder, package, web.

    The file appears under its name only after its SHA-256 was found right. Where the entry has none, what was
    got is recorded beside the file, and everything that is fetched later must be the same.

    Args:
        name: the entry's name in ``weights.yaml``.
        entry: ``file`` (its name in ``folder``), ``package`` (``top_package/path/of/file`` in an installed
            distribution, which is not imported), ``url`` (http or https) or ``hub``, ``sha256``, ``licence``
            and ``note``; each may be missing.
        folder: where the user keeps weights.
        results: where it must go.

    Raises:
        SegShiftError: no source has it, the download broke off, or the SHA-256 is another.
    """
    output = results.weights(name)
    output.parent.mkdir(parents=True, exist_ok=True)
    part = output.with_name(f"{output.name}.part")
    _tell(name, entry)
    local = _in_folder(entry, folder) or _in_package(entry)
    if local is not None:
        print(f"weights {name}: from {local}", flush=True)
        digest = _check(name, entry, local, str(local), results)
        download.forget(part)
        if not (output.exists() and local.samefile(output)):
            _link_or_copy(local, part)
    elif url := _url(entry):
        download.download(f"weights {name}", url, part)
        try:
            digest = _check(name, entry, part, url, results)
        except SegShiftError:
            download.forget(part)
            raise
    else:
        raise SegShiftError(_nowhere(name, entry, folder))
    _record(name, entry, digest, results)
    if part.exists():
        part.replace(output)


def _tell(name: str, entry: dict[str, Any]) -> None:
    """Licence and note, before anything is fetched."""
    told = [f"licence {entry['licence']}"] if entry.get("licence") else []
    if told := [*told, *([entry["note"]] if entry.get("note") else [])]:
        print(f"weights {name}: {'; '.join(told)}", flush=True)


def _url(entry: dict[str, Any]) -> str | None:
    """Where the entry's file is in the web, if anywhere."""
    if not entry.get("hub"):
        return entry.get("url")
    from huggingface_hub import hf_hub_url  # here: most entries need it not

    repository, _, rest = entry["hub"].partition("@")
    revision, _, file = rest.partition("/")
    mirror = os.environ.get("HF_ENDPOINT")
    return hf_hub_url(repository, file or FILE, revision=revision, endpoint=mirror)


def _in_folder(entry: dict[str, Any], folder: Path | None) -> Path | None:
    file = folder / entry["file"] if folder is not None and entry.get("file") else None
    return file if file is not None and file.is_file() else None


def _in_package(entry: dict[str, Any]) -> Path | None:
    """The file inside an installed package, which is found without running its code."""
    if not entry.get("package"):
        return None
    top, _, inside = entry["package"].partition("/")
    spec = find_spec(top)
    for place in (spec.submodule_search_locations or []) if spec is not None else []:
        if (file := Path(place) / inside).is_file():
            return file
    return None


def _nowhere(name: str, entry: dict[str, Any], folder: Path | None) -> str:
    tried = []
    if entry.get("file"):
        tried.append(f"the file {folder / entry['file']}" if folder else "no folder, since none is set")
    if entry.get("package"):
        tried.append(f"the package file {entry['package']} (not installed)")
    where = " and ".join(tried) or "nothing"
    return f"weights {name}: not found; tried {where}, and its entry has neither url nor hub"


def _check(name: str, entry: dict[str, Any], file: Path, source: str, results: Results) -> str:
    """The file's SHA-256, which must be the entry's, or the recorded one where the entry has none."""
    found, said = sha256(file), entry.get("sha256")
    if said is not None and found != said.lower():
        raise SegShiftError(f"weights {name}: {source} has sha256 {found}, expected {said}")
    recorded = records.read(results, name)
    if said is None and recorded not in (None, found):
        raise SegShiftError(
            f"weights {name}: {source} has sha256 {found}, but what was fetched first had {recorded}, and "
            f"models may have been made with it; to take the new file remove {results.weights_record(name)}"
        )
    return found


def _record(name: str, entry: dict[str, Any], digest: str, results: Results) -> None:
    """Note a digest that nobody verified; take the note away where the entry says another one."""
    recorded = records.read(results, name)
    if entry.get("sha256") is None:
        print(f"weights {name}: not verified by the project; sha256 {digest}", flush=True)
        records.write(results, name, digest)
    elif recorded not in (None, digest):
        records.write(results, name, None)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)
