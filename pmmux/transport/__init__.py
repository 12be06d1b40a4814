"""How octets move: listening, connecting, relaying."""
