"""The command line: a table, a fast parser over it, and one module a command."""
