"""SSH: certain after C{SSH-2.0-}; C{ssh.version} at once, C{ssh.software} when the line has ended."""

from __future__ import annotations

from pmmux.model import NO_MATCH, Verdict, match, need
from pmmux.probes.probe import Probe
from pmmux.probes.text import read_text
from pmmux.wire.reading import Incomplete
from pmmux.wire.ssh import read_identification


def inspect(octets: bytes) -> Verdict:
    """Match the beginning of the identification line."""
    found = read_identification(octets)
    if found is None:
        return NO_MATCH
    if isinstance(found, Incomplete):
        return need(found.octets_needed)
    properties = {"ssh.version": found.version}
    if found.software is not None:
        properties["ssh.software"] = read_text(found.software)
    return match(properties, found.octets_needed)


probe = Probe(name="ssh", transport="tcp", provides=("ssh.",), inspect=inspect)
