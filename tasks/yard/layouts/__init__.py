"""Readers of layouts of labelled images that any line may meet, and the one form they bring them into (example.py).

A layout is a module with

    WHAT                  what a folder of it holds, for people
    found(roots)          is this what the folders of a source hold
    read(roots, params)   `Labels`: every image with its boxes, and every entry that cannot be used with its place

Beside them: yolo_write.py writes a YOLO dataset, keypoints.py tells poses from polygons, coco_entries.py puts entries
of one image together, groups.py says which names belong together, images.py tells whether an image is usable and reads
it, bringing.py brings images from a source, video.py reads films.
"""
