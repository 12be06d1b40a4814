"""BitTorrent: uTP, DHT and tracker datagrams of libtorrent, and others by BEP 5 and BEP 29."""

MATCHING: list[bytes] = [
    # libtorrent: uTP
    bytes.fromhex("410053027990860700000000000000008ac30000"),
    # uTP with the extension bits of other clients
    bytes.fromhex("41021a2b5c6d7e8f00000000001000000001000000080000000000000000"),
    # libtorrent: a tracker
    bytes.fromhex("0000041727101980000000001b371384"),
    # libtorrent: get_peers
    bytes.fromhex(
        "64313a6164323a6273693165323a696432303ace0728e52b54fe76480a0198d848200f0ecca324393a696e666f5f6861"
        "736832303ace0728e52b54fe76480a0198cdb060e182548c7365313a71393a6765745f7065657273313a74323a3c7d31"
        "3a76343a4c540208313a79313a7165"
    ),
    # ping
    b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe",
    # an answer
    b"d1:rd2:id20:abcdefghij0123456789e1:t2:aa1:y1:re",
    # an error
    b"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee",
]

REFUSED: list[bytes] = [
    # keys out of order
    b"d1:t2:aa1:ad2:id20:abcdefghij0123456789e1:q4:ping1:y1:qe",
    # something after the end
    b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe!",
    # a short node ID
    b"d1:ad2:id4:abcde1:q4:ping1:t2:aa1:y1:qe",
    # uTP data
    bytes.fromhex("010053027990860700000000000000008ac30000"),
    # uTP that acknowledges
    bytes.fromhex("410053027990860700000000000000008ac30001"),
    # a tracker announce
    bytes.fromhex("00000417271019800000000100000000"),
    # deep
    b"d1:allllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll"
    b"llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll"
    b"llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll"
    b"llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll"
    b"llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll"
    b"llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll"
    b"llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll"
    b"llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll"
    b"llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll"
    b"llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll"
    b"llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll"
    b"llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll"
    b"llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll"
    b"llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll"
    b"llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll"
    b"llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll"
    b"llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll"
    b"llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll"
    b"llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll"
    b"llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll"
    b"llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll"
    b"llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll"
    b"llllllllllllllllllllllll",
]
