"""Write the colours of classes that have none of their own, from the library that made them.

Usage: python tools/class_colours.py

They are colorcet's ``glasbey_light`` (CC BY 4.0, James A. Bednar and others): 256 colours by
the method of Glasbey and others, "Colour displays for categorical images", each as far from
those before it as can be, none of them near black, white or grey. Programs that draw need the
table alone, in Python and in C++; the library stays here.
"""

from __future__ import annotations

from pathlib import Path

TABLE = Path(__file__).parents[1] / "hrvit_deploy" / "palettes" / "glasbey.txt"


def table() -> str:
    """Return the file's text: an index and its colour a line."""
    import colorcet

    colours = colorcet.glasbey_light
    return "".join(f"{index}\t{colour}\n" for index, colour in enumerate(colours))


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
