"""
DNS messages as clients send them: queries, notifications, updates, and multicast DNS.

@see: RFC 1035 section 4, RFC 6762 section 18, RFC 6891.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence

from attrs import frozen

HEADER = struct.Struct("!6H")
QUESTION_TAIL = struct.Struct("!2H")
RECORD_TAIL = struct.Struct("!2HLH")

RESPONSE_BIT = 0x8000
OPCODE_SHIFT = 11
OPCODE_MASK = 0xF
AUTHORITATIVE_BIT = 0x0400
TRUNCATED_BIT = 0x0200
RECURSION_DESIRED_BIT = 0x0100
RECURSION_AVAILABLE_BIT = 0x0080
RESERVED_BIT = 0x0040
RCODE_MASK = 0x000F
REFUSED_LOW_BITS = RECURSION_AVAILABLE_BIT | RESERVED_BIT | RCODE_MASK
"""What is set in no query nor announcement: most of what is not DNS has some of them."""
FLAGS_END = 4

OPCODE_QUERY = 0
OPCODE_NOTIFY = 4
OPCODE_UPDATE = 5
OPCODE_NAMES = {OPCODE_QUERY: "query", OPCODE_NOTIFY: "notify", OPCODE_UPDATE: "update"}

LABEL_LIMIT_OCTETS = 63
NAME_LIMIT_OCTETS = 255
POINTER_BITS = 0xC0
POINTER_OCTETS = 2
POINTER_HOP_LIMIT = 32
RECORD_LIMIT = 512
ADDITIONAL_LIMIT = 3
"""OPT, and one signature each of two kinds: more does not come with a query."""

CLASSES = frozenset({1, 3, 4, 254, 255})
CLASS_NONE = 254
CLASS_MASK = 0x7FFF
"""The top bit of a class means something else in multicast DNS, RFC 6762 sections 5.4 and 10.2."""
TYPE_OPT = 41
NETBIOS_TYPES = frozenset({32, 33})
NETBIOS_NAME = re.compile(r"[a-p]{32}(\.|$)")
"""NetBIOS names are written in 32 letters from A to P, RFC 1001 section 14.1; such queries are not DNS."""

TYPE_NAMES = {
    1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 13: "HINFO", 15: "MX", 16: "TXT", 17: "RP",
    18: "AFSDB", 24: "SIG", 25: "KEY", 28: "AAAA", 29: "LOC", 33: "SRV", 35: "NAPTR", 36: "KX",
    37: "CERT", 39: "DNAME", 41: "OPT", 42: "APL", 43: "DS", 44: "SSHFP", 45: "IPSECKEY", 46: "RRSIG",
    47: "NSEC", 48: "DNSKEY", 49: "DHCID", 50: "NSEC3", 51: "NSEC3PARAM", 52: "TLSA", 53: "SMIMEA",
    55: "HIP", 59: "CDS", 60: "CDNSKEY", 61: "OPENPGPKEY", 62: "CSYNC", 63: "ZONEMD", 64: "SVCB",
    65: "HTTPS", 99: "SPF", 108: "EUI48", 109: "EUI64", 249: "TKEY", 250: "TSIG", 251: "IXFR",
    252: "AXFR", 255: "ANY", 256: "URI", 257: "CAA",
}  # fmt: skip

LINK_LOCAL_ZONES = (
    "local",
    "254.169.in-addr.arpa",
    "8.e.f.ip6.arpa",
    "9.e.f.ip6.arpa",
    "a.e.f.ip6.arpa",
    "b.e.f.ip6.arpa",
)
"""The names that are multicast DNS's own, RFC 6762 sections 3 and 4."""

_PLAIN_LABEL = re.compile(rb"[0-9A-Za-z_-]+")


@frozen(slots=True)
class Question:
    """
    What is asked.

    @ivar name: in lower case, without the trailing dot, odd octets as C{\\DDD}; empty for the root.
    @ivar type: the number.
    """

    name: str
    type: int

    @property
    def type_name(self) -> str:
        """The type's mnemonic, or C{TYPE12345}. @see: RFC 3597 section 5"""
        return TYPE_NAMES.get(self.type) or f"TYPE{self.type}"


@frozen(slots=True)
class Message:
    """
    A message that a client may begin with.

    @ivar opcode: one of C{OPCODE_NAMES}.
    @ivar questions: at least one, but for multicast announcements.
    @ivar names: the owner names of the answers; of use for announcements only.
    @ivar has_edns: whether there is an OPT record.
    @ivar is_multicast: whether this is multicast DNS.
    @ivar is_response: whether it answers or announces; multicast only.
    """

    opcode: int
    questions: tuple[Question, ...]
    names: tuple[str, ...]
    has_edns: bool
    is_multicast: bool
    is_response: bool


def parse_message(datagram: bytes) -> Message | None:
    """
    Read a whole message; it must end where the datagram ends.

    Multicast DNS is told apart by ID 0, recursion not desired, and only names that are link-local
    (RFC 6762 sections 18.1, 18.6 and 3); all else is plain DNS, which asks one question at a time
    (RFC 9619) and without name compression before it.

    @return: C{None} where it is neither.
    """
    if len(datagram) <= HEADER.size or datagram[FLAGS_END - 1] & REFUSED_LOW_BITS:
        return None
    identifier, flags, *counts = HEADER.unpack_from(datagram)
    opcode = flags >> OPCODE_SHIFT & OPCODE_MASK
    if opcode not in OPCODE_NAMES:
        return None
    may_be_multicast = identifier == 0 and not flags & RECURSION_DESIRED_BIT and opcode == OPCODE_QUERY
    is_response = bool(flags & RESPONSE_BIT)
    if is_response:
        if not (may_be_multicast and flags & AUTHORITATIVE_BIT and counts[1]):
            return None
    elif flags & AUTHORITATIVE_BIT and opcode != OPCODE_NOTIFY:
        return None
    if not (may_be_multicast or _is_plain(opcode, flags, counts)) or sum(counts) > RECORD_LIMIT:
        return None
    questions: list[Question] = []
    position = HEADER.size
    for _ in range(counts[0]):
        name, position = read_name(datagram, position)
        if name is None or position + QUESTION_TAIL.size > len(datagram):
            return None
        question_type, question_class = QUESTION_TAIL.unpack_from(datagram, position)
        position += QUESTION_TAIL.size
        if not question_type or not _is_class(question_class, may_be_multicast, False):
            return None
        questions.append(Question(name, question_type))
    records = _read_records(datagram, position, counts[1:], may_be_multicast, opcode == OPCODE_UPDATE)
    if records is None:
        return None
    names, has_edns = records
    is_multicast = may_be_multicast and _are_link_local([*(question.name for question in questions), *names])
    if not is_multicast and (is_response or not _is_plain(opcode, flags, counts)):
        return None
    if not is_multicast and (datagram[HEADER.size] & POINTER_BITS or _is_netbios(questions[0])):
        return None
    return Message(opcode, tuple(questions), names, has_edns, is_multicast, is_response)


def _is_plain(opcode: int, flags: int, counts: Sequence[int]) -> bool:
    """Whether unicast DNS allows these flags and counts."""
    questions, answers, authorities, additionals = counts
    if questions != 1 or flags & TRUNCATED_BIT:
        return False
    if opcode == OPCODE_UPDATE:
        return True
    # IXFR carries the zone's SOA as authority (RFC 1995 section 3), NOTIFY as answer (RFC 1996 section 3.7).
    return answers <= (opcode == OPCODE_NOTIFY) and authorities <= 1 and additionals <= ADDITIONAL_LIMIT


def _is_class(value: int, may_be_multicast: bool, is_update: bool) -> bool:
    plain = value & CLASS_MASK if may_be_multicast else value
    return plain in CLASSES and (is_update or plain != CLASS_NONE)


def _read_records(
    datagram: bytes, position: int, counts: Sequence[int], may_be_multicast: bool, is_update: bool
) -> tuple[tuple[str, ...], bool] | None:
    """@return: the names of the answers, and whether there is an OPT record."""
    names: list[str] = []
    has_edns = False
    for section, count in enumerate(counts):
        for _ in range(count):
            name, position = read_name(datagram, position)
            if name is None or position + RECORD_TAIL.size > len(datagram):
                return None
            record_type, record_class, _ttl, octets = RECORD_TAIL.unpack_from(datagram, position)
            position += RECORD_TAIL.size + octets
            if record_type == TYPE_OPT:
                if name or has_edns:
                    return None
                has_edns = True
            elif not record_type or not _is_class(record_class, may_be_multicast, is_update):
                return None
            if section == 0:
                names.append(name)
    return (tuple(names), has_edns) if position == len(datagram) else None


def read_name(message: bytes, position: int) -> tuple[str | None, int]:
    """
    Read a domain name, following compression pointers backwards only.

    @return: the name as L{Question.name} describes it, and the position after it; C{None} for the
        name where it is broken.
    @see: RFC 1035 sections 3.1 and 4.1.4; RFC 4343 section 2.1 for the escapes
    """
    labels: list[str] = []
    octets = 1
    after = -1
    lowest = position
    hops = 0
    while position < len(message):
        length = message[position]
        if length == 0:
            return ".".join(labels), position + 1 if after < 0 else after
        if length & POINTER_BITS == POINTER_BITS:
            if position + 1 >= len(message):
                break
            target = (length & ~POINTER_BITS) << 8 | message[position + 1]
            hops += 1
            if target >= lowest or target < HEADER.size or hops > POINTER_HOP_LIMIT:
                break
            if after < 0:
                after = position + POINTER_OCTETS
            position = lowest = target
            continue
        end = position + 1 + length
        octets += 1 + length
        if length > LABEL_LIMIT_OCTETS or octets > NAME_LIMIT_OCTETS or end > len(message):
            break
        labels.append(_label_text(message[position + 1 : end]))
        position = end
    return None, position


def _label_text(label: bytes) -> str:
    if _PLAIN_LABEL.fullmatch(label):
        return label.decode("ascii").lower()
    return "".join(
        chr(octet) if 0x21 <= octet <= 0x7E and octet not in b'.\\"' else f"\\{octet:03d}"  # noqa: PLR2004
        for octet in label.lower()
    )


def _are_link_local(names: Sequence[str]) -> bool:
    return bool(names) and all(
        any(name == zone or name.endswith("." + zone) for zone in LINK_LOCAL_ZONES) for name in names
    )


def _is_netbios(question: Question) -> bool:
    return question.type in NETBIOS_TYPES and NETBIOS_NAME.match(question.name) is not None
