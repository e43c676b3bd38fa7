"""Towards models: connections, their pools, names, health and TLS, for HTTP/1.1 and gRPC."""
