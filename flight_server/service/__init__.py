"""The use cases; each one reads top to bottom: admit, act, record."""
