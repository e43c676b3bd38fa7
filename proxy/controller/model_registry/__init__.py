"""A model registry that names versions and hears what became of them. Start reading at `versions.py`."""
