"""STUN: requests of ICE, TURN and plain binding."""

MATCHING: list[bytes] = [
    # turnutils_stunclient
    bytes.fromhex("000100002112a442e68ef6cba331b9ed9caec534"),
    # turnutils_uclient
    bytes.fromhex(
        "000300202112a442069aa99334a82e7d8ac44f660019000411000000000d000400000309001800018000000080280004"
        "506d2764"
    ),
    # aioice, with USERNAME, MESSAGE-INTEGRITY and FINGERPRINT
    bytes.fromhex(
        "0001004c2112a442f72db94656f9ffacfcdf65680006001173727655667261673a636c69556672616700000000240004"
        "6e001eff802a000800000000499602d200080014adad75258d09cf3ad58de3b45d108d3aa636258880280004d12fd495"
    ),
    # aioice: allocate
    bytes.fromhex("000300102112a4427182260d4fd9f260d7681a66000d0004000002580019000411000000"),
    # an indication with FINGERPRINT
    bytes.fromhex("001100082112a44227169e6306b4aadec75755fb80280004c25306b3"),
    # a binding success response
    bytes.fromhex("010100002112a442000102030405060708090a0b"),
]

REFUSED: list[bytes] = [
    # a wrong FINGERPRINT
    bytes.fromhex("001100082112a44227169e6306b4aadec75755fb80280004c2530600"),
    # a length that is not the datagram's
    bytes.fromhex("000100002112a4429c717396bfef645264339c9e00000000"),
    # no magic cookie (RFC 3489)
    bytes.fromhex("00010000000102030405060708090a0b0c0d0e0f"),
]
