"""Reads what is installed in this environment: real input for the catalogue."""

from collections.abc import Iterator
from importlib import metadata

from models import Distribution, InstalledFile


def installed() -> Iterator[tuple[Distribution, list[InstalledFile]]]:
    """Give every distribution with the files in its RECORD, each name once."""
    seen = set()
    for found in metadata.distributions():
        name = found.metadata["Name"]
        if not name or name in seen:
            continue
        seen.add(name)
        files = {str(file): _described(name, file) for file in found.files or []}
        summary = found.metadata.get("Summary") or ""
        yield Distribution(name=name, version=found.version, summary=summary, file_count=len(files)), [*files.values()]


def _described(owner: str, file: metadata.PackagePath) -> InstalledFile:
    digest = f"{file.hash.mode}:{file.hash.value}" if file.hash else None
    return InstalledFile(owner=owner, path=str(file), size=file.size, hash=digest)
