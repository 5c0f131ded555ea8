"""What build.py needs to make the pages that are not written by hand."""
