"""The HTTP server: sockets, connections, TLS, passwords and its configuration file."""
