"""C{pmmuxctl top}: what is shown, and the screen that shows it."""
