"""Files and registries: written whole, checked by digest, fetched into a cache."""
