"""The catalog's data sets, one module for each family; importing a module registers its data sets."""
