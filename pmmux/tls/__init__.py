"""TLS: certificates, OpenSSL's contexts, and streams that are encrypted below and plain above."""
