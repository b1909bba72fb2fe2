"""What the server tells of itself: numbers, the call that a thread works for, and traces."""
