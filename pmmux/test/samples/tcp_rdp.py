"""RDP: connection requests of rdesktop and FreeRDP (with and without negotiation), and variants."""

_FIXED = b"\xe0\x00\x00\x00\x00\x00"
_NEGOTIATION = b"\x01\x00\x08\x00\x03\x00\x00\x00"
_CORRELATED = b"\x01\x08\x08\x00\x0b\x00\x00\x00" + b"\x06\x00\x24\x00" + bytes(range(1, 17)) + bytes(16)


def _packet(rest: bytes) -> bytes:
    body = _FIXED + rest
    return b"\x03\x00" + (len(body) + 5).to_bytes(2, "big") + bytes([len(body)]) + body


MATCHING: list[bytes] = [
    b"\x03\x00\x00+&\xe0\x00\x00\x00\x00\x00Cookie: mstshash=alice\r\n\x01\x00\x08\x00\x03\x00\x00\x00",
    b"\x03\x00\x00)$\xe0\x00\x00\x00\x00\x00Cookie: mstshash=bob\r\n\x01\x00\x08\x00\x03\x00\x00\x00",
    b"\x03\x00\x00!\x1c\xe0\x00\x00\x00\x00\x00Cookie: mstshash=bob\r\n",
    b"\x03\x00\x00=8\xe0\x00\x00\x00\x00\x00tsv://MS Terminal Services Plugin.1.farm\r\n"
    b"\x01\x00\x08\x00\x03\x00\x00\x00",
    _packet(b""),
    _packet(_NEGOTIATION),
    _packet(b"\x01\x00\x08\x00\x00\x00\x00\x00"),
    _packet(b"Cookie: msts=3640205228.15629.0000\r\n" + _NEGOTIATION),
    _packet(b"Cookie: mstshash=eltons\r\n" + _CORRELATED),
    _packet(b"Cookie: mstshash=\r\n" + _NEGOTIATION),
]

REFUSED: list[bytes] = [
    # Siemens S7: the same X.224 request, with parameters.
    bytes.fromhex("0300001611e00000000100c0010ac1020100c2020102"),
    # H.323: a TPKT with Q.931 inside.
    bytes.fromhex("030000210802000105040388c0a5"),
    b"\x03\x00\x00\x0b\x05\xe0\x00\x00\x00\x00\x00",
    b"\x03\x00\x00\x0b\x06\xd0\x00\x00\x00\x00\x00",
    b"\x03\x00\x00\x0a",
    b"\x03\x00\x02",
    _packet(b"Cookie: mstshash=x"),
    _packet(b"Cookie: mstshash=x\r\n\x02"),
    _packet(b"Cookie: mstshash=x\r\n" + _NEGOTIATION + b"\x00"),
    _packet(b"\x01\x08\x08\x00\x03\x00\x00\x00"),
]
