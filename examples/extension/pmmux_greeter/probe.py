"""A probe: recognises a made-up protocol whose clients begin with C{HELLO name} and a line end."""

from pmmux.model import NO_MATCH, Verdict, match, need
from pmmux.probes.probe import Probe

OPENING = b"HELLO "
NAME_LIMIT_OCTETS = 64


def inspect(octets: bytes) -> Verdict:
    """Refuses at the first octet that cannot match, and asks for more where more could tell."""
    if not octets.startswith(OPENING):
        return need(len(octets) + 1) if OPENING.startswith(octets) else NO_MATCH
    name, end, _ = octets[len(OPENING) :].partition(b"\n")
    if len(name) > NAME_LIMIT_OCTETS:
        return NO_MATCH
    if not end:
        return need(len(octets) + 1)
    return match({"hello.name": name.decode("ascii", "replace").strip()})


probe = Probe(name="hello", transport="tcp", inspect=inspect, provides=("hello.",))
