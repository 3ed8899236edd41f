"""What several programs have in common, and what is too long for one file.

    gguf_files, hf_folders, model_folder            models as GGUF files, as Hugging Face folders, as folders of folders
    hub_cache, hub_found                            the Hugging Face cache: what goes in, what already lies there
    ollama_manifest, ollama_names, ollama_found     the same of Ollama
    textgen_settings                                TextGen's `config-user.yaml`
    names, own, sidecars                            legal names; a program's own models; settings
    yaml_lines, yaml_tree                           YAML kept line by line; YAML read as values
"""
