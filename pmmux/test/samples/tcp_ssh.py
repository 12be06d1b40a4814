"""SSH: identification lines; the first three as the clients sent them."""

DROPBEAR_KEY_EXCHANGE = (
    bytes.fromhex("000002940814a77ebc1f6f325d9f88401f8236d2") + b"E\0\0\0\0\xe3curve25519-sha256"
)

MATCHING: list[bytes] = [
    b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10\r\n",
    b"SSH-2.0-PuTTY_Release_0.78\r\n",
    b"SSH-2.0-dropbear_2022.83\r\n" + DROPBEAR_KEY_EXCHANGE,
    b"SSH-2.0-JSCH-0.1.54\n",
    b"SSH-2.0-Go\r\n",
    b"SSH-1.99-OpenSSH_3.4p1\n",
    b"SSH-2.0-" + b"x" * 300 + b"\r\n",
    b"SSH-2.0-broken\x00line\r\n",
]

REFUSED: list[bytes] = [
    b"SSH-1.5-old\n",
    b"SSH-2.1-x\r\n",
    b"ssh-2.0-x\r\n",
    b"SSH-2.0_x\r\n",
    b"\r\nSSH-2.0-x\r\n",
]
