"""Routing strategies: one file per way to choose."""
