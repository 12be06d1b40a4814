"""Multicast DNS: queries and announcements of zeroconf, and questions about a host."""

MATCHING: list[bytes] = [
    # two services, the second by a unicast answer
    bytes.fromhex(
        "000000000002000000000000055f68747470045f746370056c6f63616c00000c0001045f697070c012000c8001"
    ),
    # an announcement
    bytes.fromhex(
        "000084000000000200000000055f68747470045f746370056c6f63616c00000c000100001194000603776562c00cc028"
        "0021800100000078000d00000000005004686f7374c017"
    ),
    # a probe for a name, with the record proposed
    bytes.fromhex("00000000000100000001000004686f7374056c6f63616c0000ff8001c00c00010001000000780004c0000201"),
    # a link-local address by name
    bytes.fromhex("00000000000100000000000001370133033235340331363907696e2d61646472046172706100000c0001"),
]

REFUSED: list[bytes] = [
    # not a link-local name: plain DNS
    bytes.fromhex("000000000001000000000000076578616d706c65036f72670000010001"),
    # a query with an error
    bytes.fromhex("00000003000100000000000004686f7374056c6f63616c0000010001"),
    # an announcement of nothing
    bytes.fromhex("00008400000000000000000000"),
]
