"""The commands of ``lskd``, a module each: ``add`` tells the parser of it; what it needs is imported when it runs."""
