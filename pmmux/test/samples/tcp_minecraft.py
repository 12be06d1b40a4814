"""Minecraft: handshakes laid out by the protocol's description, of each age."""


def _varint(number: int) -> bytes:
    out = bytearray()
    while True:
        low, number = number & 0x7F, number >> 7
        out.append(low | (0x80 if number else 0))
        if not number:
            return bytes(out)


def handshake(address: bytes, state: int, protocol: int = 767, port: int = 25565) -> bytes:
    body = b"\x00" + _varint(protocol) + _varint(len(address)) + address
    body += port.to_bytes(2, "big") + bytes([state])
    return _varint(len(body)) + body


def ping_host(name: str) -> bytes:
    """The server list's ping of 1.6."""
    text = name.encode("utf-16-be")
    rest = b"\x4e" + (len(text) // 2).to_bytes(2, "big") + text + (25565).to_bytes(4, "big")
    channel = "MC|PingHost".encode("utf-16-be")
    return b"\xfe\x01\xfa\x00\x0b" + channel + len(rest).to_bytes(2, "big") + rest


OLD_PING = b"\xfe\x01"
#: As long as the first two octets of the old ping say.
LONG_HANDSHAKE = handshake(b"p" * 246, 2)

MATCHING: list[bytes] = [
    handshake(b"play.Example.com", 2),
    handshake(b"play.example.com", 1) + b"\x01\x00",
    handshake(b"play.example.com.\0FML2\0", 2),
    handshake(b"192.0.2.7", 3),
    handshake(b"mc", 1, protocol=0xFFFFFFFF),
    handshake(b"snapshot.example.com", 2, protocol=0x40000105),
    handshake(b"m", 1, protocol=47),
    handshake("münchen.example".encode(), 2, protocol=4),
    handshake(b"h" * 250 + b"\0FML3\0", 2),
    LONG_HANDSHAKE,
    OLD_PING,
    ping_host("Play.example.com"),
    b"\xfe\x01\xfa\x00\x0bM",
    OLD_PING + b"other",
]

REFUSED: list[bytes] = [
    b"\xfe\x09",
    b"\x06\x00",
    b"\x10\x01",
    b"\x90\x00",
    handshake(b"play.example.com", 4),
    handshake(b"play.example.com", 0),
    handshake(b"play example com", 1),
    handshake(b"\0FML\0", 2),
    handshake(b"play.example.com", 2)[:4] + b"\x0f",
    b"\x10\x00\xff\xff\xff\xff\x1f",
    b"\x10\x00\xff\xff\xff\xff\xff\x01",
]
