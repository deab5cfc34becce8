"""The command ``report``: what was spent, added and lapsed in a span of days, from the history in the state."""
