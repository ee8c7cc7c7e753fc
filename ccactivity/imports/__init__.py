"""Imports of whole files: checked, cut into parts, and mapped back to the rows that were refused."""
