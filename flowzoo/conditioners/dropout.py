"""Dropout: Keras's layer, with random numbers that XLA draws quickly."""

from __future__ import annotations

import keras
import tensorflow as tf

from flowzoo import random


class Dropout(keras.layers.Dropout):
    """`keras.layers.Dropout` with `flowzoo.random.ALGORITHM`; Keras leaves the choice to XLA."""

    def call(self, inputs, training=False):
        if not training or not self.rate:
            return inputs
        # Keras keeps int64 seeds, and XLA takes int32.
        seed = tf.cast(tf.math.floormod(self.seed_generator.next(), tf.int32.max), tf.int32)
        return tf.nn.experimental.stateless_dropout(
            inputs, self.rate, seed, rng_alg=random.ALGORITHM, noise_shape=self.noise_shape
        )
