"""A container's life: the store, create, start, exec, update, hooks, delete, and the dialogue with the executor."""
