"""The commands of `lakeflight`."""
