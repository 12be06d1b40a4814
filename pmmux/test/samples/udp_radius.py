"""RADIUS: requests of radclient."""

MATCHING: list[bytes] = [
    # access, with a realm
    bytes.fromhex(
        "01d2003db5952532050ebf7ea49a54493e8de7da0111626f62404578616d706c652e4f524702121163d9b10b1c77e179"
        "5dff69fac8f5bb04067f000001"
    ),
    # accounting
    bytes.fromhex("04960028d46d23e3d8f5c12b2cb1ef208dfd398b0105626f622806000000012c0331050600000003"),
    # status
    bytes.fromhex("0cc90026f7d2324c1c28ba5e3d883d84cff1f023501268599adb840e5f40be6883c52fc3bf2c"),
    # 148 octets, like an initiation of WireGuard
    bytes.fromhex("01990094000102030405060708090a0b0c0d0e0f0106626f62401a7a00000009") + bytes(116),
]

REFUSED: list[bytes] = [
    # an answer
    bytes.fromhex(
        "02d2003db5952532050ebf7ea49a54493e8de7da0111626f62404578616d706c652e4f524702121163d9b10b1c77e179"
        "5dff69fac8f5bb04067f000001"
    ),
    # an octet too many
    bytes.fromhex(
        "01d2003db5952532050ebf7ea49a54493e8de7da0111626f62404578616d706c652e4f524702121163d9b10b1c77e179"
        "5dff69fac8f5bb04067f00000100"
    ),
    # no attributes
    bytes.fromhex("0101001400000000000000000000000000000000"),
    # an attribute past the end
    bytes.fromhex(
        "01d2003db5952532050ebf7ea49a54493e8de7da017f626f62404578616d706c652e4f524702121163d9b10b1c77e179"
        "5dff69fac8f5bb04067f000001"
    ),
    # an attribute of length 0
    bytes.fromhex(
        "01d2003db5952532050ebf7ea49a54493e8de7da0100626f62404578616d706c652e4f524702121163d9b10b1c77e179"
        "5dff69fac8f5bb04067f000001"
    ),
]
