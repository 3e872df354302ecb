"""Measuring a student: distance to its teacher, scores in each mode, cost."""
