"""Black-box tests of any OCI runtime, through its command line."""
