"""Rows scored on a distributed engine, by an exported flow."""
