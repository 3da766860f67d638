"""Images to a network's input, and its outputs to what they mean, on NumPy and Pillow alone.

One source for three places: the package uses it, and ``embed`` copies this folder as it is
into a Python program and beside the models of Triton's Python backend. So it imports nothing
from outside but NumPy and Pillow, imports itself relatively, since it has another name there,
and keeps to Python 3.10, which older containers of Triton run.

::

    decode.py        image files to RGB
    formats.py       the formats that are opened, and no others
    lfs.py           pointers of Git LFS in the place of files
    limits.py        how large an image may be
    orientation.py   EXIF's orientation, and pixels turned by it
    preprocess.py    RGB to the network's input
    resample.py      maps at another size, along one axis at a time
    postprocess.py   the network's outputs to label maps and probabilities
    draw.py          label maps to pictures
    names.py         names for the files of several images
"""
