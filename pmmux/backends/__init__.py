"""Backend protocols: one file per kind of place that traffic can go to."""
