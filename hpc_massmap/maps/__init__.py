"""Maps of Compton-y, X-rays, stars and total mass (section 2.2)."""
