"""Images from Dockerfiles. `dockerfile` and `ignore` only read text: no disk, no network, no waiting."""
