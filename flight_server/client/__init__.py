"""The client side: connections, results and their presentation."""
