"""The whole way of a sync: look, take in, project, plan, apply, and note how things stand."""
