"""SQLAlchemy's own compliance suite, run by ``test_compliance`` in a process of its own."""
