"""Measures Lakeflight beside bare Flight servers and DataFusion in process, in one interleaved run.

``python -m benchmarks`` prints the tables; ``benchmarks.goals`` lists what they are held against.
"""
