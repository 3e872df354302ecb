"""One module per measurement: its rows, how they are measured, their table, figures and report section."""
