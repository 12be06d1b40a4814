"""How a datagram session may end beside what L{pmmux.errors} names."""

OUTCOME_EVICTED = "evicted"
"""It made room for another: its client had not answered anything yet."""
OUTCOME_SOURCE_REFUSED = "source-refused"
"""The backend takes nothing from the client's port."""
OUTCOME_LISTENER_CLOSED = "listener-closed"
"""Its listener is gone, and with it the address that replies leave from."""
