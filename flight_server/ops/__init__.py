"""Running it: settings and logs."""
