"""Stock clients against a running server: what each of them can do, shown by what it did."""
