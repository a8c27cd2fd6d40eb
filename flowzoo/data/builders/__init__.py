"""Our TensorFlow Datasets builders, for data sets that TensorFlow Datasets does not have."""
