"""Scores rows on a distributed engine with an exported flow."""
