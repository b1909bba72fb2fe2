"""A deterministic sample lakehouse."""
