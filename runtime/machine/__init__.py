"""The executor, and what starts and talks to it."""
