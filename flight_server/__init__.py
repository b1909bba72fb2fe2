"""Lakeflight: a governed Delta lakehouse served over Apache Arrow Flight SQL."""
