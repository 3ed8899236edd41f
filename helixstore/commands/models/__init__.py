"""A model that is elsewhere: found, chosen, brought here, followed through its versions, and sent on.

    catalogue                   `models search`, `models info`: the well-known models
    offering, prospects, picking    what a reference leads to; who could run each form of it; which one is taken
    judging                     whether a program can run it here, before and after; `compat`
    here, kept, lying, came     what the store has of what a name means; a download where nobody can be asked; what is
                                wanted, and lies in a program's folder already; what a download brought
    unproven                    by which name programs find a model of a registry that says it is one of the hub's
    download, download_all, get     `models download`; `download-all`; `HelixStore.get`
    update, versions            `update`; `history` and `rollback`
    push                        `push`: models to a registry
"""
