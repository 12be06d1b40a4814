"""Makes C{pmmux} a command of twistd."""

from twisted.application.service import ServiceMaker

pmmux = ServiceMaker(  # type: ignore[no-untyped-call]
    "pmmux",
    "pmmux.tap",
    "A port multiplexer: many protocols on one port, routed by what the client first says.",
    "pmmux",
)
