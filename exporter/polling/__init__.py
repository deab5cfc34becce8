"""When an account is polled, what its key may send, and how one poll goes."""
