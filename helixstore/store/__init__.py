"""The truth on disk: blobs, manifests, refs, and what keeps them whole."""
