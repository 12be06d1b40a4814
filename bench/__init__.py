"""
The bench: pmmux beside its peers, on this machine, now.

Run it with C{python -m bench} from the repository's root.

See docs/performance.md for how to run it and how to read what it prints.
"""
