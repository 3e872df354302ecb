"""The code that talks to the hub: client, retries, comparison of files, manifest."""
