"""pyrun: an OCI low-level container runtime, which compiles a bundle to a program of system calls and executes it."""
