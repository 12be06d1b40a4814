"""What C{pmmuxctl} does itself, without a running pmmux: one file per sub-command."""
