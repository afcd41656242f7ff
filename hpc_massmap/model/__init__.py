"""The U-Net family (section 3.1)."""
