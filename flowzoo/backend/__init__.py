"""What runs below the flows: XLA programs, functions of rows, shards on cores, imports."""
