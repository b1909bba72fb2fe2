"""How data lies on disk."""
