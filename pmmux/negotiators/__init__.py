"""Negotiators: one file per thing that may come before the routed octets."""
