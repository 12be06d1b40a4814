"""Readers of single values: durations, sizes, addresses, ports. Each raises L{ValueError}."""
