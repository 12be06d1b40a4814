"""CoAP: requests of libcoap, and a bare one."""

MATCHING: list[bytes] = [
    # get, with a query
    bytes.fromhex("4101a59b0172151c4b2e77656c6c2d6b6e6f776e04636f72654472743d78"),
    # put, non-confirmable, with text
    bytes.fromhex("5103bfe60172151d4773656e736f72730474656d7010ff68656c6c6f"),
    # observe, with the host
    bytes.fromhex("44014dd361626365396c6f63616c686f73743012151e436f6273"),
    # get / with neither token nor options
    bytes.fromhex("4001a1b2"),
    # Block2 and Accept
    bytes.fromhex("4401a1b2d00dfeedb361626361286106"),
]

REFUSED: list[bytes] = [
    # a ping
    bytes.fromhex("4000a1b2"),
    # a response
    bytes.fromhex("6045a1b2ff6869"),
    # a token of 9 octets
    bytes.fromhex("4901a1b2000000000000000000"),
    # an unknown critical option
    bytes.fromhex("4001a1b2d10078"),
    # a marker without payload
    bytes.fromhex("4001a1b2ff"),
    # Uri-Port twice
    bytes.fromhex("4001a1b271500150"),
    # an option cut off
    bytes.fromhex("4001a1b2b5616263"),
]
