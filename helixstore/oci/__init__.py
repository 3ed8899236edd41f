"""Registries of containers' kind: models fetched from them and pushed to them, blob by blob. It knows no store.

    registry = Registry(read_reference("oci://registry.example/team/llama:q4"), Access.of(os.environ))
    found = registry.model()                            # the manifest, checked
    for file in read_contents(found.manifest).files:    # names, digests, sizes
        with registry.blob(file.sha256, file.bytes) as stream: ...

Facts: the OCI distribution and image specifications 1.1, Docker's registry API, and the sources that each module names.
"""
