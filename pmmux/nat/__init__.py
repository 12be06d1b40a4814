"""NAT port mapping: drivers, the gateway watcher, and the mappings."""
