"""Where the tissue is: glass, ink, outlines, and small geometry on masks."""
