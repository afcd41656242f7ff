"""Halo catalogues, snapshots and the selection of halos (section 2.1)."""
