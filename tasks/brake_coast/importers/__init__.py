"""Importers turn the layouts that recordings come in into the native one (see `tasks.brake_coast.formats.recording`).

A layout is a module with

    drives(folder, names)   the drives that begin in this folder, which holds files of these names
    files(path)             every file that a drive is made from
    telemetry_file(path)    the one of them that its telemetry is in
    read(path)              a `resample.Reading`: its telemetry in the columns of `recording.COLUMNS`, as text, Time
                            included; {Time: image file}, the video layout has `write_frames` instead; and what there
                            is to say of both
    CLOCK, DERIVED          "local", or "relative" for a clock that begins at 2000-01-01; columns that nobody measured
"""
