"""Published data sets of image files, each read in the layout of its own archive."""
