"""The built-in commands: each module has its C{commands}."""
