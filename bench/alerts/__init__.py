"""The alert rules judged by how they do on simulated accounts whose end is known."""
