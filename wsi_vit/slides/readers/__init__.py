"""What opens a slide file: OpenSlide, tifffile, DICOM; its levels and channels."""
