"""Measures the exporter and the programs that a user could run in its place. See ``python -m bench --help``."""
