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
    hosts                       `host`: the computers that use the store
    gc, trash                   `gc`, with what only `undo` keeps; what it has put aside
    verify, repair              `verify`; `verify --repair`

Models that are elsewhere, their versions, and registries: `models/`.
"""
