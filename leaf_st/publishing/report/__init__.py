"""The report of a run: one HTML page with all measurements."""
