"""All that a scheduler is told, or tells: sites, jobs, notices of an end."""
