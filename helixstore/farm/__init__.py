"""The farm: the links and sidecars that helixstore makes in the roots of providers. Plan is pure, apply acts."""
