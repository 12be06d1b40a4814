"""From the command line, the environment and a file to typed L{Settings}, or to all faults at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pmmux.config import commandline
from pmmux.config import environment as environment_variables
from pmmux.config.assembling import assemble
from pmmux.config.commandline import read_command_line
from pmmux.config.draft import PMMUX, DraftSection
from pmmux.config.environment import read_environment
from pmmux.config.faults import FaultList
from pmmux.config.files import read_file
from pmmux.config.merging import merge
from pmmux.config.schema import Schema, canonical_name
from pmmux.config.settings import Settings
from pmmux.config.substitution import substitute
from pmmux.config.values import names

EXTENSIONS = "extensions"


def load(
    argv_overrides: Sequence[tuple[str, str]],
    environment: Mapping[str, str],
    path: str | None,
    schema: Schema,
) -> Settings:
    """
    Read, merge and check all sources; how they merge is said in L{pmmux.config.merging}.

    @param argv_overrides: pairs of an option of C{[pmmux]} and its value, in the order given; an
        option may be there several times.
    @param environment: the process's variables, both for C{PMMUX__…} and for references.
    @param path: the configuration file; C{None} for none.
    @raises ConfigurationError: with every fault found, in the order of the file, then of the
        environment, then of the command line.
    """
    faults = _new_faults(path)
    draft = merge(_read_sources(argv_overrides, environment, path, schema, faults), faults)
    settings = assemble(draft, schema, path, faults)
    if faults:
        raise faults.error()
    return settings


def wanted_extensions(
    argv_overrides: Sequence[tuple[str, str]],
    environment: Mapping[str, str],
    path: str | None,
) -> tuple[str, ...]:
    """
    The names of the extensions to load, without checking anything else.

    For before the whole schema is known: extensions add to it. Whatever is wrong is left for L{load}
    to report.
    """
    faults = _new_faults(path)
    draft = merge(_read_sources(argv_overrides, environment, path, Schema(), faults), faults)
    for entry in draft.pmmux.entries:
        if canonical_name(PMMUX, entry.option) == EXTENSIONS:
            try:
                return tuple(name for text, _ in entry.items() for name in names(text))
            except ValueError:
                return ()
    return ()


def _new_faults(path: str | None) -> FaultList:
    return FaultList([*([] if path is None else [path]), environment_variables.SOURCE, commandline.SOURCE])


def _read_sources(
    argv_overrides: Sequence[tuple[str, str]],
    environment: Mapping[str, str],
    path: str | None,
    schema: Schema,
    faults: FaultList,
) -> list[list[DraftSection]]:
    options = schema.options(PMMUX)
    named_kinds = {section.kind for section in schema.sections.values() if section.named}
    sources = [
        [] if path is None else read_file(path, named_kinds, faults),
        [read_environment(environment, options, faults)],
        [read_command_line(argv_overrides, options)],
    ]
    return [[substitute(section, environment, faults) for section in sections] for sections in sources]
