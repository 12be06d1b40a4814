"""Probes: one file per protocol recognised. Each judges the first octets without consuming them."""
