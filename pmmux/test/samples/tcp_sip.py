"""SIP: what sipsak sends, and requests with other schemes of URI."""

MATCHING: list[bytes] = [
    b"OPTIONS sip:bob@127.0.0.1:3922 SIP/2.0\r\n"
    b"Via: SIP/2.0/TCP 127.0.0.1:57767;branch=z9hG4bK.5ca2b8a2;rport;alias"
    b"\r\nFrom: sip:sipsak@127.0.0.1:57767;tag=23ce1c2a\r\nTo: sip:bob@127.0.0.1:3922"
    b"\r\nCall-ID: 600710186@127.0.0.1"
    b"\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\nMax-Forwards: 70\r\nUser-Agent: sipsak 0.9.8.1\r\n\r\n",
    b"REGISTER sip:Registrar.Example.org SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1\r\n\r\n",
    b"INVITE sips:alice;day=tuesday@atlanta.example.com:5061;transport=tcp SIP/2.0\r\n",
    b"INVITE sip:[2001:db8::9:1]:5060 SIP/2.0\r\n",
    b"INVITE tel:+1-201-555-0123 SIP/2.0\r\n",
    b"INVITE urn:service:sos SIP/2.0\r\n",
    b"MESSAGE im:bob@example.org SIP/2.0\r\n",
    b"INFO sip:bob@example.org SIP/2.0\r\n",
]

REFUSED: list[bytes] = [
    b"OPTIONS * HTTP/1.1\r\n",
    b"OPTIONS sip:bob@example.org HTTP/1.1\r\n",
    b"OPTIONS rtsp://example.org/ RTSP/1.0\r\n",
    b"INVITE  sip:bob@example.org SIP/2.0\r\n",
    b"INVITE sip: SIP/2.0\r\n",
    b"INVITE sip:bob@example.org SIP/3.0\r\n",
    b"GET sip:bob@example.org SIP/2.0\r\n",
    b"SIP/2.0 200 OK\r\n",
]
