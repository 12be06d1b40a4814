"""Octets to values and back: pure functions, importing neither Twisted nor the rest of pmmux."""
