"""SIP: requests of sipsak and SIPp, and a registration."""

MATCHING: list[bytes] = [
    # sipsak
    b"OPTIONS sip:bob@127.0.0.1:5414 SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK.6e651d40;rport;alias\r\n"
    b"From: sip:sipsak@127.0.0.1:5060;tag=2ee7ebbd\r\n"
    b"To: sip:bob@127.0.0.1:5414\r\n"
    b"Call-ID: 786951101@127.0.0.1\r\n"
    b"CSeq: 1 OPTIONS\r\n"
    b"Contact: sip:sipsak@127.0.0.1:5060\r\n"
    b"Content-Length: 0\r\n"
    b"Max-Forwards: 70\r\n"
    b"User-Agent: sipsak 0.9.8.1\r\n"
    b"Accept: text/plain\r\n"
    b"\r\n",
    # SIPp
    b"INVITE sip:service@127.0.0.1:5415 SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK-4711-1-0\r\n"
    b"From: sipp <sip:sipp@127.0.0.1:5060>;tag=4711SIPpTag001\r\n"
    b"To: service <sip:service@127.0.0.1:5415>\r\n"
    b"Call-ID: 1-4711@127.0.0.1\r\n"
    b"CSeq: 1 INVITE\r\n"
    b"Contact: sip:sipp@127.0.0.1:5060\r\n"
    b"Max-Forwards: 70\r\n"
    b"Subject: Performance Test\r\n"
    b"Content-Type: application/sdp\r\n"
    b"Content-Length:   129\r\n"
    b"\r\n"
    b"v=0\r\n"
    b"o=user1 53655765 2353687637 IN IP4 127.0.0.1\r\n"
    b"s=-\r\n"
    b"c=IN IP4 127.0.0.1\r\n"
    b"t=0 0\r\n"
    b"m=audio 6000 RTP/AVP 0\r\n"
    b"a=rtpmap:0 PCMU/8000\r\n",
    # a registration, with short names of headers
    b"REGISTER sips:Example.ORG;transport=udp SIP/2.0\r\n"
    b"v: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n"
    b"f: <sip:bob@example.org>;tag=1\r\n"
    b"t: <sip:bob@example.org>\r\n"
    b"i: 1@192.0.2.1\r\n"
    b"CSeq: 1 REGISTER\r\n"
    b"\r\n",
]

REFUSED: list[bytes] = [
    # a response
    b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1\r\n\r\n",
    # no headers
    b"OPTIONS sip:example.org SIP/2.0\r\n\r\n",
    # keep-alive
    b"\r\n\r\n",
    # HTTP
    b"OPTIONS sip:example.org HTTP/1.1\r\nVia: SIP/2.0/UDP 192.0.2.1\r\n\r\n",
]
