"""What each command does: one file for each kind of question or deed. `HelixStore` calls them; nothing else does.

Before there is a store:

    without_store               all of these, as `HelixStore` has them
    survey, init, site          what the programs hold; making a store; settings for everybody on the machine
    authoring                   `layouts`: for those who write one

Questions:

    queries, explain            `list`, `show`, `path`, `status`, `compat`, `providers`; what a path is, and why
    usage, savings, people      `du`: who uses what; what was saved; who is who
    doctor, access              what holds and what does not; who gets to the store and who does not
    containers                  what a container must be given

Deeds (`sync` itself, by which most of them go, and `reindex` are in `helixstore.sync.change`):

    generations, again          `generations`: what all programs showed after each operation, and the way there; what
                                was taken back, done once more
    intents, back               `share`, `hide`, `pin`, `link`, `remove`; `undo` and `leave`
    volumes, volume_views       `volume`: disks added and removed; how they stand
    moving                      `volume move`, and one copy kept of several
    download, update, versions  `models download`; `update`; `history` and `rollback`
    offering, prospects, picking    what a reference leads to; who could run each form of it; which one is taken
    judging                     whether a program can run it here, before and after; `compat`
    here, kept, lying, came     what the store has of what a name means; a download where nobody can be asked; what is
                                wanted, and lies in a program's folder already; what a download brought
    unproven                    by which name programs find a model of a registry that says it is one of the hub's
    get, download_all           `HelixStore.get`; `download-all`
    catalogue                   `models search`, `models info`: the well-known models
    push                        `push`: models to a registry
    hosts                       `host`: the computers that use the store
    gc, trash                   `gc`, with what only `undo` keeps; what it has put aside
    verify, repair              `verify`; `verify --repair`
"""
