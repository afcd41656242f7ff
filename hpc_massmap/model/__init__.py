"""Networks from maps of the views to maps of the targets: the U-Nets of section 3.1."""
