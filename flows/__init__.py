"""Prefect flows: order, retries and machines; no pixel and no tensor. The work is in `wsi_vit`."""
