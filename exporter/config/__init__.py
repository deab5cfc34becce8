"""What a user may write, and the ``Config`` that the program uses."""
