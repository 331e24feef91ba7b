"""What a bundle may say: strict loader, tables, checks, schemas. No system calls, and nothing of runtime/."""
