"""`python -m wsi_vit` is `wsi-vit`."""

from wsi_vit.cli import main

main()
