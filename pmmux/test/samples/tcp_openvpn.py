"""
OpenVPN over TCP: what OpenVPN 2.6 sends without wrapping, with tls-auth by each of six digests, with
tls-crypt and with tls-crypt-v2.
"""

PLAIN = "000e38cdb0daba5db620880000000000"
TLS_AUTH = (
    "002a38bb5f93705bbf01f490eadfd413ad49b8cbb5ba1e3ac6e241d10d2d2c000000016b031bee0000000000",
    "0036382f7546341472193123545a03f42e68ac16dfddf028ad462a515e0ec64f7f7a9f4b3ad6a28673e2cb000000016b03"
    "1bf00000000000",
    "005638d5c90a58da0373d2ab0fa94701678e7697f3a53c309c586569329f75cf1cd0ceb909c093755cf3ca82dbaacc202e"
    "87201e72e544ccba558128cb54f2acb51e9a4579f8bbd217e0b6000000016b031bf20000000000",
    "002638 6ea73b56853297a5 75d1e4962aee73e9a187c1780eed6678 000000016b031bf40000000000",
    "0046385467870a6aa15c935daee4ff4232d23adc7ae9c97c1352c5e3b48468d344ed402aa4b3544c888876328aa8cdf9fc"
    "0223308017e5db741f12000000016b031bf60000000000",
    "00323895d41f7875566e16f9bf908d243da8ff012db8083e556565bd4632068e98ea6893ee6c88000000016b031bf80000"
    "000000",
)
TLS_CRYPT = (
    "003638f47c6e721f53ba07000000016b031bfafa1d14ca6dcf4945d9d831cb4b9bebf11af8c6004e59b89244ec8ed75f13"
    "150956027f1a66"
)
TLS_CRYPT_V2 = (
    "0161504851207f3f3fd28d0f0000016b031bfc76e136ed7e711913fbd02860afa95cb98072c19c4b49c35d491b9c927931"
    "8c13081226441b9bee124a708060cc0fa9b2f998bca7460a1a0a3d40898ba97568d585dbe6da711eb7c5bd12be2ef92bac"
    "bb6bd32aa26daa4b6f4e4bc0e5d35da1cef6d5a7dc064f30384df54d80a9a407974196334a6b66dd0174c16449b3b23196"
    "046c5cbd5a65c7a0c5f9c4ed5e49593faede010a72ac1489a4c3eec907ab77f7083f12b582a258e5bcf432dfc7da0e8fe2"
    "7c7d572e1ea848eea650a699210a03964436c53f2ea4f5d87ab0cb388847a40b7467c9e490319a493d3ea88aac9bbaf91f"
    "7ab10885a322fa1f04d0e6e2fd3516f2648e1c0728d41bef01045900ac6aa6b375480b47e1db930a9912f5d428a12be481"
    "509ad61c6b4860d16d9da23e532ecabe75bdf029b6186f63ecb2466cc3bec070ec887d6dfbab20f9acfba054858f2cc30a"
    "a2f81ba5f948d0d944be012b"
)

MATCHING: list[bytes] = [bytes.fromhex(text) for text in (PLAIN, *TLS_AUTH, TLS_CRYPT, TLS_CRYPT_V2)]
# The first packet again, because no answer came.
MATCHING.append(MATCHING[0] * 2)

REFUSED: list[bytes] = [
    # The server's reset, another key, another length, no session, an acknowledgement.
    bytes.fromhex("000e40cdb0daba5db620880000000000"),
    bytes.fromhex("000e39cdb0daba5db620880000000000"),
    bytes.fromhex("000f38cdb0daba5db62088000000000000"),
    bytes.fromhex("000e3800000000000000000000000000"),
    bytes.fromhex("000e38cdb0daba5db620880100000000"),
    # A wrapped key whose length is another.
    bytes.fromhex(TLS_CRYPT_V2)[:-1] + b"\x2c",
    # A DNS query that has the length and the first octet of a tls-crypt packet.
    bytes.fromhex("0036380101000001000000000000") + b"\x01k" + b"\x24" + b"x" * 36 + b"\x00\x00\x01\x00\x01",
]
