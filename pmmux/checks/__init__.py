"""Health checks: one file per way to ask an upstream whether it works."""
