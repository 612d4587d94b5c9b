"""The commands and their options. Each imports its implementation when it is called, so that `--help` is quick."""

from __future__ import annotations

import enum
import functools
import logging
import sys
import warnings
from typing import Annotated, Any

import typer

from .. import __version__
from ..errors import MissingExtraError
from . import output
from .outcome import USAGE, execute, refuse_file, say

_ClickError: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
"""Base class of errors about arguments; its public name differs between releases of typer."""

app = typer.Typer(
    name="satchel",
    help="Read, write, copy and examine stores. A store is a URL, or a name from satchel.toml.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class OverwriteChoice(enum.StrEnum):
    """What happens to an entry that the target already has."""

    NEVER = "never"
    NEWER = "newer"
    ALWAYS = "always"


def _known_stores(incomplete: str) -> list[str]:
    from .places import named  # noqa: PLC0415  # as the docstring of the module says

    return [name for name in named() if name.startswith(incomplete)]


Place = Annotated[
    str | None,
    typer.Option(
        "--store",
        "-s",
        metavar="URL",
        help="The store; by default SATCHEL_URL, or [satchel] in satchel.toml.",
        autocompletion=_known_stores,
    ),
]
Source = Annotated[str, typer.Argument(metavar="SOURCE", help="A URL or a name.", autocompletion=_known_stores)]
Target = Annotated[str, typer.Argument(metavar="TARGET", help="A URL or a name.", autocompletion=_known_stores)]
CollectionName = Annotated[str, typer.Argument(metavar="COLLECTION", help="The collection.")]
Key = Annotated[str, typer.Argument(metavar="KEY", help="The key.")]
Output = Annotated[
    str, typer.Option("--output", "-o", metavar="FILE", help="Write to this file; - is standard output.")
]
Ttl = Annotated[str | None, typer.Option("--ttl", metavar="TIME", help="Seconds, or 15m, 2h, 7d, 2w.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON, one object per line.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Write nothing to the store; show what would be done.")]
Collections = Annotated[
    list[str] | None, typer.Option("--collection", "-c", metavar="NAME", help="Only this collection; may be repeated.")
]
Prefix = Annotated[str, typer.Option("--prefix", metavar="TEXT", help="Only keys that start with this.")]
Exclude = Annotated[str | None, typer.Option("--exclude", metavar="TEXT", help="No keys that start with this.")]
Glob = Annotated[
    str | None,
    typer.Option(
        "--glob", metavar="PATTERN", help="Only keys that match: * is one level between slashes, ** any number."
    ),
]


_parser = functools.cache(typer.main.get_command)
"""Makes the parser of all commands once for a process that runs several: that takes longer than most commands."""


def command(arguments: list[str]) -> int:
    """Run a command line, and return its exit code."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # warnings are for programmers
    logging.lastResort = None  # drivers log failures that we report as errors, in one line
    try:
        code = _parser(app).main(arguments or ["--help"], prog_name="satchel", standalone_mode=False)
    except _ClickError as error:
        where = getattr(getattr(error, "ctx", None), "command_path", "satchel")
        said = _without_given(" ".join(error.format_message().split()), arguments)
        say(f"{said} ({where} --help shows what there is)")
        return USAGE
    except OSError as error:  # the help could not be written
        return refuse_file(error)
    return int(code or 0)


def _without_given(message: str, arguments: list[str]) -> str:
    """Return a message without misplaced URLs, which may contain secrets."""
    for argument in arguments:
        for text in (argument, argument.partition("=")[2]):
            if ":" in text:
                message = message.replace(repr(text), "a URL").replace(text, "a URL")
    return message


def _show_version(is_asked: bool) -> None:  # as typer calls it
    if is_asked:
        output.line(f"satchel {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[  # its callback does it
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    pass


@app.command()
def get(collection: CollectionName, key: Key, output: Output = "-", store: Place = None, json: AsJson = False) -> int:
    """Write a value: bytes unchanged, anything else as JSON."""
    from . import entries  # noqa: PLC0415  # as the docstring of the module says

    return execute(entries.get(store, collection, key, output, as_json=json))


@app.command()
def put(
    collection: CollectionName,
    key: Key,
    value: Annotated[str | None, typer.Argument(metavar="[VALUE]", help="The value as JSON.")] = None,
    file: Annotated[
        str | None,
        typer.Option("--input", "-i", metavar="FILE", help="Read the value from this file; - is standard input."),
    ] = None,
    text: Annotated[bool, typer.Option("--text", help="The value is text, not JSON.")] = False,
    as_bytes: Annotated[bool, typer.Option("--bytes", help="The value is bytes, stored unchanged.")] = False,
    ttl: Ttl = None,
    store: Place = None,
    json: AsJson = False,
) -> int:
    """Store a value, replacing any earlier one."""
    from . import entries  # noqa: PLC0415  # as the docstring of the module says

    form = "bytes" if as_bytes else "text" if text else "json"
    return execute(entries.put(store, collection, key, value, file, ttl, form=form, as_json=json))


@app.command()
def rm(
    collection: CollectionName,
    keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="The keys.")],
    store: Place = None,
    json: AsJson = False,
) -> int:
    """Remove entries."""
    from . import entries  # noqa: PLC0415  # as the docstring of the module says

    return execute(entries.rm(store, collection, keys, as_json=json))


@app.command()
def ls(
    collection: Annotated[str | None, typer.Argument(metavar="[COLLECTION]", help="The collection.")] = None,
    prefix: Prefix = "",
    exclude: Exclude = None,
    glob: Glob = None,
    depth: Annotated[int | None, typer.Option(min=1, help="Only keys with at most this many levels.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="List one page: at most this many, sorted.")] = None,
    after: Annotated[str | None, typer.Option(metavar="KEY", help="List only keys after this one, sorted.")] = None,
    store: Place = None,
    json: AsJson = False,
) -> int:
    """List the collections, or the keys of one."""
    from . import entries  # noqa: PLC0415  # as the docstring of the module says

    return execute(entries.ls(store, collection, prefix, exclude, glob, depth, limit, after, as_json=json))


@app.command()
def info(collection: CollectionName, key: Key, store: Place = None, json: AsJson = False) -> int:
    """Show type, size, times and version of an entry."""
    from . import entries  # noqa: PLC0415  # as the docstring of the module says

    return execute(entries.info(store, collection, key, as_json=json))


@app.command()
def touch(
    collection: CollectionName,
    key: Key,
    ttl: Ttl = None,
    never: Annotated[bool, typer.Option("--never", help="The entry does not expire.")] = False,
    store: Place = None,
    json: AsJson = False,
) -> int:
    """Change when an entry expires."""
    from . import entries  # noqa: PLC0415  # as the docstring of the module says

    return execute(entries.touch(store, collection, key, ttl, never=never, as_json=json))


@app.command()
def pop(collection: CollectionName, key: Key, output: Output = "-", store: Place = None, json: AsJson = False) -> int:
    """Remove an entry, and write its value."""
    from . import entries  # noqa: PLC0415  # as the docstring of the module says

    return execute(entries.pop(store, collection, key, output, as_json=json))


@app.command()
def copy(
    source: Source,
    target: Target,
    collection: Collections = None,
    prefix: Prefix = "",
    exclude: Exclude = None,
    glob: Glob = None,
    overwrite: Annotated[OverwriteChoice, typer.Option(help="Which entries are replaced.")] = OverwriteChoice.NEVER,
    verify: Annotated[bool, typer.Option("--verify", help="Read each entry back and compare.")] = False,
    dry_run: DryRun = False,
    state: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Record the progress in this file, and resume from it after an interruption."
        ),
    ] = None,
    json: AsJson = False,
) -> int:
    """Copy the entries of one store into another."""
    from . import transfer  # noqa: PLC0415  # as the docstring of the module says

    chosen = transfer.Chosen(collection, prefix, glob, exclude)
    return execute(
        transfer.copy(source, target, chosen, overwrite.value, state, verify=verify, dry_run=dry_run, as_json=json)
    )


@app.command()
def mirror(
    source: Source,
    target: Target,
    collection: Collections = None,
    prefix: Prefix = "",
    exclude: Exclude = None,
    glob: Glob = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove entries that the source does not have.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Confirm --delete.")] = False,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> int:
    """Make TARGET equal to SOURCE: copy missing and differing entries."""
    from . import transfer  # noqa: PLC0415  # as the docstring of the module says

    chosen = transfer.Chosen(collection, prefix, glob, exclude)
    return execute(transfer.mirror(source, target, chosen, delete=delete, yes=yes, dry_run=dry_run, as_json=json))


@app.command()
def check(
    source: Source,
    target: Target,
    collection: Collections = None,
    prefix: Prefix = "",
    exclude: Exclude = None,
    glob: Glob = None,
    json: AsJson = False,
) -> int:
    """List the entries in which two stores differ."""
    from . import transfer  # noqa: PLC0415  # as the docstring of the module says

    chosen = transfer.Chosen(collection, prefix, glob, exclude)
    return execute(transfer.check(source, target, chosen, as_json=json))


@app.command()
def export(
    output: Output = "-",
    collection: Collections = None,
    prefix: Prefix = "",
    exclude: Exclude = None,
    glob: Glob = None,
    as_zip: Annotated[bool, typer.Option("--zip", help="Write a zip archive, which zip: opens as a store.")] = False,
    store: Place = None,
    json: AsJson = False,
) -> int:
    """Write entries as JSON lines, with their times."""
    from . import transfer  # noqa: PLC0415  # as the docstring of the module says

    chosen = transfer.Chosen(collection, prefix, glob, exclude)
    write = transfer.export_zip if as_zip else transfer.export
    return execute(write(store, chosen, output, as_json=json))


@app.command("import")
def load(
    file: Annotated[str, typer.Option("--input", "-i", metavar="FILE", help="The export; - is standard input.")] = "-",
    overwrite: Annotated[
        OverwriteChoice | None,
        typer.Option(help="Which existing entries are replaced; by default, existing entries are an error."),
    ] = None,
    dry_run: DryRun = False,
    store: Place = None,
    json: AsJson = False,
) -> int:
    """Put the entries of an export into a store, after checking the whole export."""
    from . import transfer  # noqa: PLC0415  # as the docstring of the module says

    chosen: Any = overwrite and overwrite.value
    return execute(transfer.load(store, file, chosen, dry_run=dry_run, as_json=json))


@app.command()
def cull(store: Place = None, json: AsJson = False) -> int:
    """Reclaim the space of expired entries now."""
    from . import health  # noqa: PLC0415  # as the docstring of the module says

    return execute(health.cull(store, as_json=json))


@app.command()
def stats(
    collection: Collections = None,
    prefix: Prefix = "",
    exclude: Exclude = None,
    glob: Glob = None,
    store: Place = None,
    json: AsJson = False,
) -> int:
    """Count entries and bytes of each collection."""
    from . import health, transfer  # noqa: PLC0415  # as the docstring of the module says

    return execute(health.stats(store, transfer.Chosen(collection, prefix, glob, exclude), as_json=json))


@app.command()
def describe(store: Place = None, json: AsJson = False) -> int:
    """Show what a store is and can do, without connecting to it."""
    from . import health  # noqa: PLC0415  # as the docstring of the module says

    return execute(health.describe(store, as_json=json))


@app.command()
def doctor(store: Place = None, json: AsJson = False) -> int:
    """Show what is installed, which stores answer, and how to mend what is wrong."""
    from . import health  # noqa: PLC0415  # as the docstring of the module says

    return execute(health.doctor(store, as_json=json))


@app.command()
def serve(
    store: Annotated[
        str | None,
        typer.Argument(
            metavar="[STORE]",
            help="A URL or a name; by default SATCHEL_URL, or [satchel] in satchel.toml.",
            autocompletion=_known_stores,
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen at; another than this machine's needs a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The port; 0 is any free one.")] = 8377,
    token: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="A token that opens the store; may be repeated.")
    ] = None,
    token_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Read tokens from this file: TOKEN [read-only] [prefix=TEXT], one a line."),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name by which clients may address the server; may be repeated."),
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Refuse every change.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Let the page at / edit and delete entries.")] = False,
    max_body: Annotated[int, typer.Option(min=1024, metavar="BYTES", help="The largest body of a request.")] = 16 << 20,
) -> int:
    """Serve a store over HTTP, until interrupted."""
    try:
        from . import serving  # noqa: PLC0415  # as the docstring of the module says
    except MissingExtraError as error:
        say(str(error))
        return USAGE
    address = serving.ServerAddress(host, port, allowed_host or [])
    tokens = serving.TokenSources(token or [], token_file)
    rights = serving.Rights(read_only, write)
    return execute(serving.serve(store, address, tokens, rights, max_body=max_body))
