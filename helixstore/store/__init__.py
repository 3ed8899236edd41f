"""The truth on disk: blobs, manifests, refs, and what keeps them whole.

What there is:

    store                       one store: the folder, and the rest of this package opened in it
    blobs, manifests, refs      bytes under their digest; versions of variants; names that lead to them
    volumes, attach, moving     blobs on other disks; making a volume; copying a blob from one to another
    references, standins        where a file lies on a disk without links; what symbolic links lead to
    records, saved              the small JSON files of all these; what each person has saved

How something gets in, and is found to be whole:

    staging, adding, hashing, xet           everything is written here first, hashed, then named
    verify, verified, quarantine            reading again; what was read when; what is damaged
    repair, donors, draft                   mending a damaged blob, range by range

What is let go of (begin with `gc`):

    gc, gc_round, gc_rules                  a collection; the order of its steps; what is decided, and why it is safe
    gc_disk, gc_notes, trash                the same on the real disk; what collectors wrote down; what can come back
    alive, keeps                            what anybody claims; what undo and running operations still need

Who uses it:

    host, hosts, returning, sweeping        who is at work; everybody; one who comes back; one who is gone for good
    sharing, trust, roots, own_sources      a group's folders; whose word counts; one farm a folder; what stays private
"""
