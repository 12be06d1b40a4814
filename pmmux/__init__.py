"""pmmux: a port multiplexer that routes TCP and UDP traffic by what the client first says."""

__version__ = "0.1.0"
