"""Who did what, when and from where: a trail that is only ever added to, and that shows when it was changed."""
