"""Clocks, logs, redaction, signals, files and systemd."""
