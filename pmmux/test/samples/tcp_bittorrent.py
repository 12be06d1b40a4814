"""BitTorrent: the handshake of libtorrent, one of an older client, and one cut after the name."""

MATCHING: list[bytes] = [
    b"\x13BitTorrent protocol\x00\x00\x00\x00\x00\x10\x00\x05"
    + bytes.fromhex("c12fe1c06bba254a9dc9f519b335aa7c1367a88a")
    + b"-LT2080-VV7c.jhTDuwM",
    b"\x13BitTorrent protocol" + bytes(8) + bytes(range(40)),
    b"\x13BitTorrent protocol",
]

REFUSED: list[bytes] = [b"\x13BitTorrent Protocol", b"\x14BitTorrent protocol", b"BitTorrent protocol"]
