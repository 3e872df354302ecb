"""Sixth stage: bring a student to those who use it."""
