"""Readers of the layouts that labelled images come in, and the one form that they bring them into (example.py).

A layout is a module with

    WHAT                  what a folder of it holds, for people
    found(roots)          is this what the folders of a source hold
    read(roots, params)   `Labels`: every image with its boxes, and every entry that cannot be used with its place
"""
