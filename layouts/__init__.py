"""One module per provider: all that helixstore knows of its folders.

A module is named as the provider is on the command line. `vllm`, `mlx`, `mistralrs` and `sglang` load from the Hugging
Face cache, which `parts.hub_cache` describes; `huggingface` is the store that all of its repositories share.
"""
