"""Keeps data over a restart."""
