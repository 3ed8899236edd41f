"""The one place that calls link, rename, ioctl and lease, and that finds out what a mount can do.

    kernel                  links, renames, clones, flushes: the calls that change a disk
    mending, locks          the same for mending a file; locks and leases
    folders, parents        making folders with the mode that is wanted; on the way to a file
    inside                  paths that no exchanged folder leads astray
    fingerprint, listing    what stat says of a file; what lies in a folder
    holes                   whether a part of a file was never written
    mounts, probe           which file system this is; which links work from here to there
    names                   which names may become a path
    access, private         who may do what; what nobody else may have written
"""
