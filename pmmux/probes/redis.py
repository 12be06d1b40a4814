"""Redis: the first command, as an array or inline; C{redis.command} is its name in capitals."""

from __future__ import annotations

from pmmux.model import NO_MATCH, Verdict, match, need
from pmmux.probes.probe import Probe
from pmmux.probes.text import read_text
from pmmux.wire.reading import Incomplete
from pmmux.wire.resp import read_command


def inspect(octets: bytes) -> Verdict:
    """Match the name of a command in an array, or a whole line with a known one."""
    command = read_command(octets)
    if command is None:
        return NO_MATCH
    if isinstance(command, Incomplete):
        return need(command.octets_needed)
    return match({"redis.command": read_text(command)})


probe = Probe(name="redis", transport="tcp", provides=("redis.",), inspect=inspect)
