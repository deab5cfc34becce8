"""What the process needs from its surroundings: clocks, logs, redaction and systemd."""
