"""One program for each client: it runs in a process of its own and makes the cells of one row.

A program imports its client only inside of functions, so that its list of cases can be read where
the client is not installed.
"""
