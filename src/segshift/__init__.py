"""SegShift: how well does a medical segmentation model survive a change of scanner, site or protocol?"""

__version__ = "0.1.0"
