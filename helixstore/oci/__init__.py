"""Registries of containers' kind: models fetched from them and pushed to them, blob by blob. It knows no store.

    reference               one artifact in a registry
    access, logins          certificates, proxies, patience; who the person is, as Docker and Podman have kept it
    insecure                registries that these two are told to trust without a certificate
    wire, tokens, answers   requests, redirects, tries again; what a registry is shown; what its refusals say
    registry, uploads       one repository: its manifests and blobs; a blob on its way there
    pushing                 a whole artifact on its way there, the manifest last
    donor                   a blob that damaged bytes are mended from
    manifest                what a manifest says, believed in nothing
    artifacts, contents     a model as an artifact; the files of an artifact

    registry = Registry(Reference("registry.example", "team/llama", "q4"), Access.of(os.environ))
    manifest = registry.model()
    for file in read_contents(manifest, "llama-q4").files:
        with registry.blob(file.sha256, file.bytes, offset) as stream:
            for block in stream: ...
            stream.check(hashed)

Facts: the OCI distribution and image specifications 1.1, Docker's registry API, and the sources that each module names.
"""
