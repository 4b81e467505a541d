"""Models that learn one class a pixel, pixel by pixel: Segmenter, U-Net, SegFormer."""
