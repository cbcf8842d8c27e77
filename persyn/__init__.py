"""Personalised synthetic data for one student model, by Route then Generate (arXiv 2510.10925)."""

__version__ = "0.1.0"
