"""NTP: time queries of several clients, with extension fields and with authentication."""

MATCHING: list[bytes] = [
    # ntpdig
    bytes.fromhex(
        "e3000000000000000000000000000000000000000000000000000000000000000000000000000000eead9f127fcde000"
    ),
    # chrony
    bytes.fromhex(
        "23000620000000000000000000000000000000000000000000000000000000000000000000000000cc13f23f21f63e8d"
    ),
    # chrony, version 3
    bytes.fromhex(
        "1b000620000000000000000000000000000000000000000000000000000000000000000000000000520da6abb2267f95"
    ),
    # a client like Windows, version 3, unsynchronised
    bytes.fromhex(
        "db00110000000000000186a000000000000000000000000000000000000000000000000000000000ecd1a4f01a9fbe76"
    ),
    # ntpd in the course of an association
    bytes.fromhex(
        "23030aec00000a2b00000f3cc0000201ecd1a4f01a9fbe76ecd1a4e01a9fbe76ecd1a4e01b9fbe76ecd1a4f01a9fbe76"
    ),
    # with a MAC of MD5
    bytes.fromhex(
        "23030aec00000a2b00000f3cc0000201ecd1a4f01a9fbe76ecd1a4e01a9fbe76ecd1a4e01b9fbe76ecd1a4f01a9fbe76"
        "00000001000102030405060708090a0b0c0d0e0f"
    ),
    # with network time security (RFC 8915)
    bytes.fromhex(
        "230006200000000000000000000000000000000000000000000000000000000000000000000000005be3a1c0d2948f17"
        "01040024000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f020400680001020304050607"
        "08090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637"
        "38393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f6061626304040028"
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223"
    ),
]

REFUSED: list[bytes] = [
    # ntpq, mode 6
    bytes.fromhex("d60200010000000000000000"),
    # monlist, mode 7
    bytes.fromhex("1700032a00000000"),
    # monlist, padded
    bytes.fromhex("1700032a") + bytes(188),
    # a server's answer
    bytes.fromhex(
        "24030aec00000a2b00000f3cc0000201ecd1a4f01a9fbe76ecd1a4e01a9fbe76ecd1a4e01b9fbe76ecd1a4f01a9fbe76"
    ),
    # a broadcast
    bytes.fromhex(
        "25030aec00000a2b00000f3cc0000201ecd1a4f01a9fbe76ecd1a4e01a9fbe76ecd1a4e01b9fbe76ecd1a4f01a9fbe76"
    ),
    # an impossible stratum
    bytes.fromhex(
        "23400aec00000a2b00000f3cc0000201ecd1a4f01a9fbe76ecd1a4e01a9fbe76ecd1a4e01b9fbe76ecd1a4f01a9fbe76"
    ),
    # odd octets after the end
    bytes.fromhex(
        "23030aec00000a2b00000f3cc0000201ecd1a4f01a9fbe76ecd1a4e01a9fbe76ecd1a4e01b9fbe76ecd1a4f01a9fbe76"
        "000000"
    ),
]
