"""The layout interface and its registry: what a provider is.

    layout      what every layout answers; the layouts themselves are in `helixstore.layouts`
    registry    finding them: the built-in ones and those of others
    reader      the only eyes that a layout has
"""
