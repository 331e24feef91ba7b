"""OCI hooks (config.md "POSIX-platform Hooks"): running them, and ready-made ones."""
