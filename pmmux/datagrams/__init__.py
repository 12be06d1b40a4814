"""Datagram sessions: from a client's first datagram to an upstream, and back."""
