"""Figures of a comparison: charts of its document, and what models show of test images.

Loads without torch. Source: the figures of BiAM (ICCV 2021).
"""
