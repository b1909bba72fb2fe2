"""What a statement says: cut into tokens, named, rewritten; pure text, before anything runs."""
