"""Source engine queries, by their description."""

MATCHING: list[bytes] = [
    # info
    bytes.fromhex("ffffffff54536f7572636520456e67696e6520517565727900"),
    # info, with the challenge that was asked for
    bytes.fromhex("ffffffff54536f7572636520456e67696e65205175657279004bb1c0de"),
    # players
    bytes.fromhex("ffffffff55ffffffff"),
    # rules
    bytes.fromhex("ffffffff564bb1c0de"),
    # ping
    bytes.fromhex("ffffffff69"),
    # challenge
    bytes.fromhex("ffffffff57"),
]

REFUSED: list[bytes] = [
    # an answer
    bytes.fromhex("ffffffff491153657276657200"),
    # another game
    bytes.fromhex("ffffffff676574696e666f20787878"),
    # too long
    bytes.fromhex("ffffffff550000000000"),
    # cut off
    bytes.fromhex("ffffffff"),
]
