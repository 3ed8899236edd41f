"""The layout interface and its registry: what a provider is."""
