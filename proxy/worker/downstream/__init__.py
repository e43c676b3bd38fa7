"""Towards clients: the listener, HTTP/1.1, gRPC and tunnels."""
