"""How SQL runs."""
