"""The exit statuses of C{pmmuxctl}; part of its contract."""

OK = 0
# The running pmmux refused, or what was asked about is not so: no such backend, faults found.
REFUSED = 1
# The command line is wrong.
USAGE = 2
# No running pmmux answers: no socket, or not allowed to use it.
UNREACHABLE = 3
# Something that pmmuxctl needs is missing: an extra that is not installed.
MISSING = 4
# Ended by Ctrl-C: as a shell counts it, 128 and the signal's number.
INTERRUPTED = 130
