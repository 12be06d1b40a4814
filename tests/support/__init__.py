"""What the end-to-end tests share: processes, servers, clients, and waiting for them."""
