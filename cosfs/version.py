"""The version of the package, written here and only here; setup.py reads this file as text."""

__version__ = "0.1.0"
