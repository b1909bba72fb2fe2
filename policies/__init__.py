"""What may be seen and done: pure decisions over frozen rules, without I/O, engine or clock."""
