"""Request heads that the probe C{http} takes."""

from __future__ import annotations

MATCHING: list[bytes] = [
    b"GET /a?b HTTP/1.1\r\nHost: shop.example.org\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"POST /form HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\nContent-Length: 3\r\n\r\na=b",
    b"CONNECT shop.example.org:443 HTTP/1.1\r\nHost: shop.example.org:443\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: shop.example.org\r\n\r\n",
    b"GET http://shop.example.org/a HTTP/1.1\r\nHost: other.example.org\r\n\r\n",
    b"M-SEARCH * HTTP/1.1\r\nHost: 239.255.255.250:1900\r\n\r\n",
    b"GET /chat HTTP/1.1\r\nHost: shop.example.org\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\n\r\n\x81\x80",
    b"GET /broken HTTP/1.1\r\nno field\r\n\r\n",
]
