"""Metrics: the reporter and its sinks."""
