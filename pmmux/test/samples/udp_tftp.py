"""TFTP: requests of tftp-hpa and curl."""

MATCHING: list[bytes] = [
    # tftp-hpa: get
    bytes.fromhex("0001626f6f742f7078656c696e75782e30006f6374657400"),
    # tftp-hpa: put
    bytes.fromhex("000275702e747874006e6574617363696900"),
    # curl, with options
    bytes.fromhex("0001632e62696e006f63746574007473697a65003000626c6b73697a65003531320074696d656f7574003600"),
    # mail, in upper case
    bytes.fromhex("000275736572004d41494c00"),
]

REFUSED: list[bytes] = [
    # data
    bytes.fromhex("00030001616263"),
    # no such mode
    bytes.fromhex("0001610062696e61727900"),
    # no file
    bytes.fromhex("0001006f6374657400"),
    # an option without value
    bytes.fromhex("000161006f6374657400626c6b73697a6500"),
    # not terminated
    bytes.fromhex("000161006f63746574"),
    # a control in the name
    bytes.fromhex("0001610a62006f6374657400"),
]
