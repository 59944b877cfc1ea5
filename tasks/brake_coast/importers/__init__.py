"""Importers turn the layouts that recordings come in into the native one (see `tasks.brake_coast.formats.recording`).

A layout is a module with

    drives(folder, names)   the drives that begin in this folder, which holds files of these names
    files(path)             every file that a drive is made from
    table(path)             its telemetry in the columns of `recording.COLUMNS`, as text, Time included
    images(path)            {Time: image file}; the video layout has `write_frames` instead
    CLOCK, DERIVED          "local", or "relative" for a clock that begins at 2000-01-01; columns that nobody measured
"""
