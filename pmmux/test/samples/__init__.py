"""
Sample traffic: one module per probe, C{tcp_NAME.py} or C{udp_NAME.py} with dashes as underscores.

Each holds C{MATCHING}: for TCP first octets of a connection, for UDP datagrams, that the probe takes.
"""
