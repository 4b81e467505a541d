"""Random changes of images and their masks, on the device that trains."""
