"""The command line: the parser in `main`, and a module for each group of commands."""
