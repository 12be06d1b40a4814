"""A network in namespaces, with a real gateway daemon, for the tests of NAT port mapping."""
