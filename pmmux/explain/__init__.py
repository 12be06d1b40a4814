"""Why a connection or datagram would go where it goes: the router's own code over given octets."""
