"""What one property of the config needs done on the host, a module each."""
