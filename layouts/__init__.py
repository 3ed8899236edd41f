"""One module per provider: all that helixstore knows of its folders."""
