"""tinc: the ID message of tinc 1.0, of tinc 1.1, of an invited node, and of a control connection."""

MATCHING: list[bytes] = [
    b"0 east 17\n",
    b"0 east_2 17.7\n1 94 64 0 0 " + b"A" * 64 + b"\n",
    b"0 ?7mTsJ0GhXg1+/bQ= 17.1\n",
    b"0 ^" + b"0123456789abcdef" * 4 + b" 0\n",
    b"0 ^0123abcd 17\n",
]

REFUSED: list[bytes] = [
    b"0 east 16\n",
    b"0 east 17\r\n",
    b"0 east 0\n",
    b"0 ea st 17\n",
    b"0 east-2 17\n",
    b"0  17\n",
    b"00 east 17\n",
    b"1 east 17\n",
    b"0 east 17.\n",
]
