"""Downloads: from the listing of a repository to blobs in the store, each content once, resumed after anything.

    listing -> choosing (which files) -> held (what the store has) -> fetching (the rest, into `partial` files) -> bring
"""
