"""OCI hooks (config.md "POSIX-platform Hooks")."""
