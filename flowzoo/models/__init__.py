"""Architectures, one file each; importing a file registers it. Files with an underscore are machinery."""
