"""Readers of the layouts that only vehicles come in, beside those of tasks/labelled, which says what a layout is."""
