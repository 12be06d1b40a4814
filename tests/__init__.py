"""End-to-end tests: the real process, real clients and real servers."""
