"""The proof that rules hold: hostile statements by the thousand, and what they get.

Each is asked of a governed table and of a copy from which everything hidden was taken away: the two
must answer alike, and nothing hidden may be in any byte that is received.
"""
