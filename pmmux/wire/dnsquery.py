"""
DNS as one who asks: a query for one name, and what its answer says.

@see: RFC 1035 section 4.1
"""

from __future__ import annotations

import struct

from attrs import frozen

HEADER = struct.Struct("!6H")
QUESTION_END = struct.Struct("!2H")
RECURSION_DESIRED = 0x0100
RESPONSE = 0x8000
TRUNCATED = 0x0200
RCODE_MASK = 0x000F
CLASS_IN = 1
LABEL_LIMIT_OCTETS = 63
NAME_LIMIT_OCTETS = 255
RCODE_NAMES = (
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET",
    "NOTAUTH", "NOTZONE",
)  # fmt: skip


@frozen(slots=True)
class Answer:
    """
    What a response says.

    @ivar rcode: 0 for no error.
    @ivar answers: how many records answer the question.
    @ivar question: the question as octets: name, type and class.
    """

    identifier: int
    rcode: int
    answers: int
    question: bytes

    @property
    def rcode_name(self) -> str:
        """As people write it: C{SERVFAIL}, C{RCODE16}."""
        return RCODE_NAMES[self.rcode] if self.rcode < len(RCODE_NAMES) else f"RCODE{self.rcode}"


def encode_question(name: str, record_type: int) -> bytes:
    """
    Name, type and class as octets.

    @param name: with or without the trailing dot; empty, or a dot, for the root.
    @raises ValueError: it is no name that DNS can hold.
    """
    stripped = name.removesuffix(".")
    encoded = bytearray()
    for label in stripped.split(".") if stripped else ():
        octets = label.encode("ascii")
        if not 0 < len(octets) <= LABEL_LIMIT_OCTETS:
            raise ValueError(f"a label has 1 to {LABEL_LIMIT_OCTETS} octets")
        encoded += bytes([len(octets)]) + octets
    encoded.append(0)
    if len(encoded) > NAME_LIMIT_OCTETS:
        raise ValueError("too long")
    return bytes(encoded) + QUESTION_END.pack(record_type, CLASS_IN)


def encode_query(identifier: int, question: bytes) -> bytes:
    """A query, from L{encode_question}'s octets."""
    return HEADER.pack(identifier, RECURSION_DESIRED, 1, 0, 0, 0) + question


def read_answer(datagram: bytes) -> Answer | None:
    """@return: C{None} where C{datagram} is no response to one question."""
    if len(datagram) < HEADER.size:
        return None
    identifier, flags, questions, answers, _, _ = HEADER.unpack_from(datagram)
    if not flags & RESPONSE or questions != 1:
        return None
    position = HEADER.size
    while position < len(datagram) and 0 < datagram[position] <= LABEL_LIMIT_OCTETS:
        position += 1 + datagram[position]
    if position >= len(datagram) or datagram[position]:
        return None
    end = position + 1 + QUESTION_END.size
    if end > len(datagram):
        return None
    return Answer(identifier, flags & RCODE_MASK, answers, datagram[HEADER.size : end])
