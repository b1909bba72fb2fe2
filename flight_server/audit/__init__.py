"""What happened: the chained record of who did what, from the journal to the audit table."""
