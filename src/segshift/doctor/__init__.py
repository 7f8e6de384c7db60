"""Is all there that a workflow needs? One module a subject; each check says what to do. Never torch."""
