"""What the bytes mean: pure, shared by server and client."""
