"""
The HTTP/2 connection preface, which every client sends first.

@see: RFC 9113 section 3.4
"""

from __future__ import annotations

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
